"""What de-identification does with each attribute: PS3.15 2024b table E.1-1 with five options, as data.

Profile: Basic Application Confidentiality, with Clean Descriptors, Retain Device Identity, Retain Patient
Characteristics, Retain Longitudinal Temporal Information with Modified Dates, and Retain Safe Private. Where this
table is stricter than the standard it is on purpose: text is removed unless it is named here, whatever its tag.

Change the table and you change `VERSION`; a test holds a digest of the table against it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

VERSION = "2"


class Action(StrEnum):
    """What becomes of one data element. The letters in brackets are those of table E.1-1."""

    KEEP = "keep"  # [K] the value stays if it is written as its VR demands, else it is emptied
    EMPTY = "empty"  # [Z]
    REMOVE = "remove"  # [X]
    CLEAN = "clean"  # [C] only the words of `WORDS` stay
    REMAP = "remap"  # [U] a keyed UID of the 2.25 arc; UIDs that the standard registers stay
    SHIFT = "shift"  # [C] whole weeks back, one number of weeks for each patient
    AGE = "age"  # kept; 90 years and more become 90
    PATIENT = "patient"  # the keyed pseudonym of the patient, at the top level only
    ACCESSION = "accession"  # the keyed pseudonym of the accession number, at the top level only
    CODE = "code"  # code and scheme of a public coding scheme stay; the meaning repeats the code
    OFFSET = "offset"  # +hhmm or -hhmm, else emptied
    RECURSE = "recurse"  # [SQ] each item goes through this table from the top
    PIXELS = "pixels"  # the bytes as they are, without what stands beyond the last pixel


BY_VR: MappingProxyType[str, Action] = MappingProxyType(
    {
        "DA": Action.SHIFT,
        "DT": Action.SHIFT,
        "TM": Action.KEEP,
        "UI": Action.REMAP,
        "SQ": Action.RECURSE,
        "PN": Action.EMPTY,
        "DS": Action.KEEP,
        "IS": Action.KEEP,
        "US": Action.KEEP,
        "SS": Action.KEEP,
        "UL": Action.KEEP,
        "SL": Action.KEEP,
        "FL": Action.KEEP,
        "FD": Action.KEEP,
        "AT": Action.KEEP,
    }
)
"""For attributes of the standard that `BY_KEYWORD` does not name. A VR that is not here: removed."""

_KEPT = """
ImageType Modality PhotometricInterpretation PatientPosition
PatientSex PatientSize PatientWeight PatientSexNeutered
Manufacturer ManufacturerModelName SoftwareVersions StationName DeviceSerialNumber GantryID DetectorID
ConvolutionKernel FilterType ScanOptions RotationDirection ExposureModulationType AcquisitionType
ReconstructionAlgorithm ConversionType PresentationIntentType Laterality ImageLaterality
RescaleType VOILUTFunction PixelSpacingCalibrationType
LossyImageCompression LossyImageCompressionMethod BurnedInAnnotation RecognizableVisualFeatures
QualityControlImage CollimatorShape
PatientOrientation ViewPosition PresentationLUTShape FieldOfViewHorizontalFlip
DimensionOrganizationType SpecimenLabelInImage
AnatomicalOrientationType VolumetricProperties VolumeBasedCalculationTechnique PixelPresentation FrameType
"""

_CLEANED = """
StudyDescription SeriesDescription ProtocolName BodyPartExamined RequestedProcedureDescription
PerformedProcedureStepDescription AcquisitionProtocolName AcquisitionProtocolDescription
"""

_EMPTIED = """
PatientName PatientBirthDate ReferringPhysicianName StudyID ContentCreatorName ConsultingPhysicianName
PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
"""

# Text of any tag is gone by default. Named here is what its VR would have let through.
_REMOVED = """
PatientBirthTime LastMenstrualDate PregnancyStatus
ReferencedPatientSequence RequestAttributesSequence OriginalAttributesSequence ModifiedAttributesSequence
NonconformingModifiedAttributesSequence OtherPatientIDsSequence ReferencedPatientAliasSequence
ReferencedPatientPhotoSequence IssuerOfPatientIDQualifiersSequence IssuerOfAccessionNumberSequence
IssuerOfAdmissionIDSequence IssuerOfServiceEpisodeIDSequence IconImageSequence
AdmittingDiagnosesCodeSequence InstitutionCodeSequence InstitutionalDepartmentTypeCodeSequence
OperatorIdentificationSequence PerformingPhysicianIdentificationSequence
PhysiciansReadingStudyIdentificationSequence PhysiciansOfRecordIdentificationSequence
ReferringPhysicianIdentificationSequence ConsultingPhysicianIdentificationSequence
PersonIdentificationCodeSequence PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence
PatientPrimaryLanguageModifierCodeSequence EthnicGroupCodeSequence
ReasonForRequestedProcedureCodeSequence ReasonForVisitCodeSequence
IntendedRecipientsOfResultsIdentificationSequence ScheduledHumanPerformersSequence
ActualHumanPerformersSequence ScheduledPerformingPhysicianIdentificationSequence
ScheduledStationNameCodeSequence ScheduledStationGeographicLocationCodeSequence
PerformedStationNameCodeSequence PerformedStationGeographicLocationCodeSequence
ContentSequence GraphicAnnotationSequence AcquisitionContextSequence VerifyingObserverSequence
VerifyingObserverIdentificationCodeSequence AuthorObserverSequence ParticipantSequence
CustodialOrganizationSequence ContentCreatorIdentificationCodeSequence FlowIdentifierSequence
ReferencedDigitalSignatureSequence ReferencedSOPInstanceMACSequence MACParametersSequence
EncryptedAttributesSequence ROICreatorSequence ROIInterpreterSequence SpecimenPreparationSequence
SpecimenDescriptionSequence IssuerOfTheContainerIdentifierSequence IssuerOfTheSpecimenIdentifierSequence
TransducerIdentificationSequence UDISequence PrescriptionNotesSequence ResultsDistributionListSequence
InterpretationApproverSequence OtherClinicalTrialProtocolIDsSequence ContributingEquipmentSequence
ReferencedPerformedProcedureStepSequence ReferencedStudySequence
DeidentificationMethod DeidentificationMethodCodeSequence PatientIdentityRemoved
"""

BY_KEYWORD: MappingProxyType[str, Action] = MappingProxyType(
    dict.fromkeys(_KEPT.split(), Action.KEEP)
    | dict.fromkeys(_CLEANED.split(), Action.CLEAN)
    | dict.fromkeys(_EMPTIED.split(), Action.EMPTY)
    | dict.fromkeys(_REMOVED.split(), Action.REMOVE)
    | dict.fromkeys(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), Action.CODE)
    | {
        "SOPClassUID": Action.REMAP,
        "PatientID": Action.PATIENT,
        "AccessionNumber": Action.ACCESSION,
        "PatientAge": Action.AGE,
        "TimezoneOffsetFromUTC": Action.OFFSET,
        "PixelData": Action.PIXELS,
    }
)

REMOVED_GROUPS: frozenset[int] = frozenset(
    {0x0000, 0x0002, 0x0004, 0x0016, 0x0072, 0xFFFA, 0xFFFC, *range(0x5000, 0x5100), *range(0x6000, 0x6100)}
)
"""Removed whole: command and file groups, whole-slide camera positions, hanging protocol selectors, digital
signatures, trailing padding, curves, and overlays with their comments."""

OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
"""Where an overlay plane says that it is there (PS3.5 7.6)."""

SAFE_PRIVATE: MappingProxyType[tuple[str, int, int], str] = MappingProxyType(
    {
        ("GEMS_ACQU_01", 0x0019, 0x23): "DS",  # table speed, mm a rotation
        ("GEMS_ACQU_01", 0x0019, 0x24): "DS",  # middle scan time
        ("GEMS_ACQU_01", 0x0019, 0x27): "DS",  # rotation speed
        ("GEMS_PARM_01", 0x0043, 0x27): "SH",  # scan pitch ratio
        ("ELSCINT1", 0x00E1, 0x21): "DS",  # dose length product
        ("ELSCINT1", 0x00E1, 0x50): "DS",  # acquisition duration
        ("ELSCINT1", 0x01F1, 0x07): "DS",  # table velocity
        ("ELSCINT1", 0x01F1, 0x26): "DS",  # pitch
        ("ELSCINT1", 0x01F1, 0x27): "DS",  # rotation time
        ("Philips PET Private Group", 0x7053, 0x00): "DS",  # SUV scale factor
        ("Philips PET Private Group", 0x7053, 0x09): "DS",  # activity concentration scale factor
        ("SIEMENS MR HEADER", 0x0019, 0x0C): "IS",  # b value
        ("SIEMENS MR HEADER", 0x0019, 0x0E): "FD",  # diffusion gradient direction
        ("GEMS_PARM_01", 0x0043, 0x39): "IS",  # b value, with three more numbers
        ("Philips Imaging DD 001", 0x2001, 0x03): "FL",  # diffusion b factor
    }
)
"""Private elements that stay: creator, group and the element's last byte, with its VR. PS3.15 table E.3.10-1 without
what is text, and without what names a person or a place. Each is kept only where its value is written as its VR
demands; a pitch ratio (SH) only where it is a number."""

PAINTED_IMAGE_TYPES = frozenset(
    {"SECONDARY", "SCREEN SAVE", "DOSE", "PROTOCOL", "LABEL", "OVERVIEW", "PRESENTATION STATE"}
)
"""Values of Image Type (0008,0008) of pixels that may show text; LABEL and OVERVIEW of a slide show its sticker."""

PUBLIC_CODING_SCHEMES = frozenset({"DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "RADLEX", "FMA", "NCIt", "UMLS"})

WORDS = frozenset(
    """
    ABD ABDOMEN ACUTE ANGIO ANGIOGRAM ANGIOGRAPHY ARTERIAL ASIR AX AXIAL AX. BODY BONE BRAIN BRN C C+ C- CAP
    CEREBRAL CERVICAL CHEST CONTRAST COR CORONAL CRANIAL CRANIUM CSPINE CT CTA CTP CTV DELAYED DOSE DUAL EMERGENCY
    ENERGY FACE FACIAL FAST FOLLOW FOLLOW-UP FOSSA FULL HEAD HEADROUTINE HELICAL HIGH HR HRCT INFUSION INITIAL IV
    KUB LOCALISER LOCALIZER LOW LUMBAR LUNG MAXILLOFACIAL MEDIASTINUM MIP MPR NATIVE NC NCCT NECK NO NON NON-CONTRAST
    NONCONTRAST OF ORBIT ORBITS PAED PAEDIATRIC PED PEDIATRIC PELVIS PERFUSION PLAIN POST POSTERIOR PRE RECON
    RESOLUTION ROUTINE SAG SAGITTAL SCAN SCOUT SEQ SEQUENTIAL SINUS SINUSES SKULL SMOOTH SOFT SPINE SPIRAL STANDARD
    STD STROKE SURVIEW TEMPORAL THICK THIN THORACIC THORAX TISSUE TOPOGRAM TRAUMA UNENHANCED UP VENOUS VOLUME W W/
    W/O WITH WITHOUT WO
    """.split()
)
"""The words that a description may keep. Numbers of up to three digits stay too, with MM or CM behind them."""
