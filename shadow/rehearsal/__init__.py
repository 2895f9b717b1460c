"""A simulated hospital: phantoms, scanners, reports, a calendar. It speaks DICOM and HL7 from the outside."""
