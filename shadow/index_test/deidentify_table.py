"""What de-identification does with each attribute: PS3.15 2024b table E.1-1 with five options, as data.

Profile: Basic Application Confidentiality, with Clean Descriptors, Retain Device Identity, Retain Patient
Characteristics, Retain Longitudinal Temporal Information with Modified Dates, and Retain Safe Private. Where this
table is stricter than the standard it is on purpose: text is removed unless it is named here, whatever its tag.

Change the table and you change `VERSION`; a test holds a digest of the table against it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

VERSION = "5"


class Action(StrEnum):
    """What becomes of one data element. The letters in brackets are those of table E.1-1."""

    KEEP = "keep"  # [K] the value stays if it is written as its VR demands, else it is emptied
    DEVICE = "device"  # [K] free text about the device, without a value that holds a person's name or identifier
    TERM = "term"  # [K] only values that are made of the words of `TERMS` stay
    MEANING = "meaning"  # [K] as a term, but what is none becomes UNKNOWN: nothing would mean the default
    EMPTY = "empty"  # [Z]
    REMOVE = "remove"  # [X]
    CLEAN = "clean"  # [C] only the words of `WORDS` stay, and of them none that is the patient's name
    REMAP = "remap"  # [U] a keyed UID of the 2.25 arc; UIDs that the standard registers stay
    SHIFT = "shift"  # [C] whole weeks back, one number of weeks for each patient
    AGE = "age"  # kept; 90 years and more become 90
    PATIENT = "patient"  # the keyed pseudonym of the patient, at the top level only
    ACCESSION = "accession"  # the keyed pseudonym of the accession number, at the top level only
    CODE = "code"  # code and scheme of a public coding scheme stay; the meaning repeats the code
    OFFSET = "offset"  # +hhmm or -hhmm, else emptied
    RECURSE = "recurse"  # [SQ] each item goes through this table from the top
    TABLE = "table"  # a lookup table, where its length is that of the descriptor beside it, else emptied
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

_DEVICE = """
Manufacturer ManufacturerModelName SoftwareVersions StationName DeviceSerialNumber GantryID DetectorID
ConvolutionKernel FilterType
"""

_TERMS = """
Modality PhotometricInterpretation PatientPosition PatientSex PatientSexNeutered
ScanOptions RotationDirection ExposureModulationType AcquisitionType
ReconstructionAlgorithm ConversionType PresentationIntentType
PixelSpacingCalibrationType
LossyImageCompression LossyImageCompressionMethod BurnedInAnnotation RecognizableVisualFeatures
QualityControlImage CollimatorShape
PatientOrientation ViewPosition FieldOfViewHorizontalFlip
SpecimenLabelInImage
AnatomicalOrientationType VolumetricProperties VolumeBasedCalculationTechnique PixelPresentation
"""

_MEANINGS = """
RescaleType VOILUTFunction PresentationLUTShape ImageType FrameType DimensionOrganizationType
Laterality ImageLaterality
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
LengthToEnd PatientBirthTime LastMenstrualDate PregnancyStatus
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
    dict.fromkeys(_DEVICE.split(), Action.DEVICE)
    | dict.fromkeys(_TERMS.split(), Action.TERM)
    | dict.fromkeys(_MEANINGS.split(), Action.MEANING)
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
        "LUTData": Action.TABLE,
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
demands; a pitch ratio (SH) only where it is written as one, `0.984:1`."""

PAINTED_IMAGE_TYPES = frozenset(
    {
        "SECONDARY",
        "SCREEN SAVE",
        "DOSE",
        "PROTOCOL",
        "LABEL",
        "OVERVIEW",
        "PRESENTATION STATE",
        "CT_SOM5 PROT",
        "CT_SOM7 PROT",
        "CT_SOM8 PROT",
    }
)
"""Values of Image Type (0008,0008) of pixels that may show text; LABEL and OVERVIEW of a slide show its sticker."""

PUBLIC_CODING_SCHEMES: MappingProxyType[str, str] = MappingProxyType(
    {
        "DCM": r"1[0-3]\d{4}",
        "SCT": r"[1-9]\d{5,17}",  # and its check digit is right
        "SRT": r"[A-Z][0-9A-F]?-[0-9A-F]{4,5}",
        "SNM3": r"[A-Z][0-9A-F]?-[0-9A-F]{4,5}",
        "LN": r"\d{3,6}-\d",
        "UCUM": r"1|%|\[hnsf'U\]|[cmun]?m[23]?|mm2/s|[mu]?s|min|k?g|[kM]?Bq|Bq/ml|m?Gy|[kM]?V|m?A|deg|Hz",
        "RADLEX": r"RID\d{1,6}",
        "FMA": r"\d{4,6}",
        "NCIt": r"C\d{4,6}",
        "UMLS": r"C\d{7}",
    }
)
"""Coding schemes that anyone can look up (PS3.16 section 8), and how a code of each is written."""

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
"""The words that a description may keep. One or two lengths stay too: `5.0`, `5MM`; other numbers can be a birthday."""

TERMS = frozenset(
    """
    ORIGINAL DERIVED PRIMARY SECONDARY MIXED OTHER NONE YES NO BOTH
    AXIAL SAGITTAL CORONAL OBLIQUE LOCALIZER SCOUT TOPOGRAM SURVIEW SCANOSCOPE REFORMATTED RESAMPLED RECON
    CT SOM5 SOM7 SOM8 SPI SEQ TOP STD DUAL ENERGY MONO MONOENERGETIC VIRTUAL NONCONTRAST IODINE MATERIAL WATER FAT
    VOLUME RENDERING MPR MIP MINIP IP MAX MIN MEAN AVERAGE SUM STDDEV VRT RENDER SURFACE CURVED PARALLEL RADIAL
    THIN THICK FILTERED FILTER NORM NORMAL DIS2D DIS3D ND MOCO DFC FIL SUB SUBTRACTION ADDITION DIVISION MULTIPLICATION
    MAGNITUDE PHASE MAP REAL IMAGINARY FFE SE IR GR EP RM T1 T2 RHO STAR DIFFUSION ADC TRACE TRACEW FA B0 PERFUSION
    CBF CBV MTT TTP TMAX ANGIO TOF FLOW ENCODED VELOCITY IN OUT OPP DIXON PROJECTION IMAGE CSA CSAPARALLEL EPI CINE
    DYNAMIC TOMO TOMOSYNTHESIS GENERATED 2D 3D TILED FULL SPARSE TEMPORAL THUMBNAIL LABEL OVERVIEW SCREEN SAVE DOSE
    PROTOCOL POST PROCESSED PRESENTATION STATE PROCESSING FOR QUALITY
    CR DX MG MR SM PT NM US XA RF SC SR OT SEG PR KO REG
    MONOCHROME1 MONOCHROME2 MONOCHROME RGB YBR 422 420 RCT ICT PARTIAL PALETTE COLOR TRUE
    HFS HFP HFDR HFDL FFS FFP FFDR FFDL LFP LFS RFP RFDR AFDR AFDL PFDR PFDL
    M F O R L U B A P H I S Q W ALTERED UNALTERED
    HELIX HELICAL SPIRAL SEQUENCE SEQUENCED CONSTANT ANGLE STATIONARY FREE MODE PITCH FAST HR GEMS EDR TRF ACC
    PER RG CG PPG FC PFF PFP SP FS SAT1 SAT2 WE MP SK MTC SS EXT NPW PFF OVP CW CC
    ANGULAR LONGITUDINAL ECG ORGAN BASED XYZ XY Z EC DOM ZDOM SMART AUTO AUTOMA
    BACK PROJ ITERATIVE DV DI DF WSD SD SI DRW SYN
    HU MOD OD EFF MGML ED EDW PCT Z IDENTITY INVERSE LIN LINEAR EXACT SIGMOID GEOMETRY FIDUCIAL
    00 01 ISO 10918 14495 15444 13818 14496 1 2 10 15 XYB RANGE REF RECTANGULAR CIRCULAR POLYGONAL
    AL AR PL PR HL HR FL FR AH AF PH PF LA RA LP RP LH RH LF RF HA HP FA FP
    AP PA LL RL LL RLD LLD LAT ML LM MLO LMO XCCL XCCM FB SIO ISO CV RM TAN
    BIPED QUADRUPED SAMPLED DISTORTED
    """.split()
)
"""The words of terms that the standard defines, and of Image Type and Scan Options as scanners write them."""

IDENTIFIER_KEYWORDS = (
    "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "StudyID", "AdmissionID",
    "ServiceEpisodeID", "MedicalRecordLocator", "RequestedProcedureID", "ScheduledProcedureStepID",
    "PerformedProcedureStepID", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "PatientTelephoneNumbers", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate",
)  # fmt: skip
"""Identifiers, and dates that would tell the shift, which are looked for, beside all names of people, in what is kept
of device text and of numbers."""

DEVICE_WORDS = frozenset(
    """
    SIEMENS HEALTHINEERS HEALTHCARE PHILIPS MEDICAL SYSTEMS GE GENERAL ELECTRIC CANON TOSHIBA HITACHI FUJI FUJIFILM
    HOLOGIC LORAD AGFA CARESTREAM KODAK KONICA MINOLTA SHIMADZU NEUSOFT UNITED IMAGING SAMSUNG NEUROLOGICA ESAOTE
    LEICA APERIO HAMAMATSU ZEISS VENTANA ROCHE
    SOMATOM DEFINITION FLASH FORCE DRIVE EDGE SENSATION EMOTION PERSPECTIVE NAEOTOM ALPHA GO NOW ALL TOP
    BRILLIANCE INGENUITY INCISIVE IQON SPECTRAL ICT LIGHTSPEED OPTIMA DISCOVERY REVOLUTION APEX MAXIMA
    AQUILION ONE PRIME GENESIS LIGHTNING SERVE VANTAGE
    MAGNETOM AVANTO AERA SKYRA PRISMA VIDA LUMINA SOLA ALTEA ESPREE VERIO TRIO SYMPHONY INGENIA ACHIEVA AMBITION
    SIGNA PREMIER ARCHITECT ARTIST VOYAGER PIONEER
    ACT AS ASCEND ASPIRE BIG BORE BRIGHTSPEED CARDIAC CORE CREATOR ELAN ELARA ELITE ESSENTIAL EVO EVOLUTION EXPLORER
    FLEX FLOW FUSION GALAN GEMINI HD HERO HISPEED HORIZON IMPACT MAX MIRA OPEN PRECISION PRISTINA PRO PURE RT SCENARIO
    SIM SP SPIRIT TERRA TF TITAN VERSA VISION
    DETAIL SHARP ULTRA PLUS SYNGO STATION ROOM FILTER FLAT WEDGE SMALL MEDIUM LARGE MEC
    ED ER ICU HOST MAIN EAST NORTH SOUTH WEST
    CA CB CC CD EA EB EC UA UB UC UD UE YA YB YC YD YE
    """.split()
)
"""Words of devices, kernels and places among them, that are also names of people: a patient called Philip must not cost
a scanner its maker, nor one called Ya its kernel, nor one called West its station."""

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Dates before and after are no dates of an examination."""
