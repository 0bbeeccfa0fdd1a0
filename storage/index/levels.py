"""At which level of the information model an element belongs that has no column of its own (PS3.3 C.7.1 to C.7.5).

Elements of the Patient and Study modules are the study's, and what its first instance says; those of the Series and
Equipment modules are the series', likewise. Everything else is the instance's own. A table only.
"""

from collections.abc import Mapping
from typing import Final

from pydicom.datadict import tag_for_keyword

from storage.index.columns import BY_TAG, Level

_PATIENT: Final = """
    IssuerOfPatientIDQualifiersSequence TypeOfPatientID PatientBirthTime PatientBirthDateInAlternativeCalendar
    PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar QualityControlSubject OtherPatientNames
    OtherPatientIDs OtherPatientIDsSequence EthnicGroup PatientComments PatientSpeciesDescription
    PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence
    StrainDescription StrainNomenclature StrainStockSequence StrainAdditionalInformation StrainCodeSequence
    GeneticModificationsSequence ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence ReferencedPatientSequence
    ReferencedPatientPhotoSequence SourcePatientGroupIdentificationSequence GroupOfPatientsIdentificationSequence
    PatientBirthName PatientMotherBirthName MilitaryRank BranchOfService CountryOfResidence RegionOfResidence
    PatientTelephoneNumbers PatientTelecomInformation PatientReligiousPreference PatientInsurancePlanCodeSequence
    PatientPrimaryLanguageCodeSequence MedicalRecordLocator ConfidentialityConstraintOnPatientDataDescription
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID
    ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
"""

_STUDY: Final = """
    ReferringPhysicianIdentificationSequence ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers
    ConsultingPhysicianName ConsultingPhysicianIdentificationSequence IssuerOfAccessionNumberSequence
    PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
    PhysiciansReadingStudyIdentificationSequence RequestingService RequestingServiceCodeSequence RequestingPhysician
    RequestingPhysicianIdentificationSequence ReferencedStudySequence ProcedureCodeSequence
    ReasonForPerformedProcedureCodeSequence RequestedProcedureDescription RequestedProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientSize PatientSizeCodeSequence PatientWeight
    PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension Occupation AdditionalPatientHistory AdmissionID
    IssuerOfAdmissionIDSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription
    ReasonForVisit ReasonForVisitCodeSequence PatientSexNeutered MedicalAlerts Allergies SmokingStatus PregnancyStatus
    LastMenstrualDate PatientState SpecialNeeds ClinicalTrialTimePointID ClinicalTrialTimePointDescription
    LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType ConsentForClinicalTrialUseSequence
"""

_SERIES: Final = """
    SeriesDescriptionCodeSequence PerformingPhysicianName PerformingPhysicianIdentificationSequence OperatorsName
    OperatorIdentificationSequence ReferencedPerformedProcedureStepSequence RelatedSeriesSequence
    SmallestPixelValueInSeries LargestPixelValueInSeries PatientPosition AnatomicalOrientationType
    RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepEndDate PerformedProcedureStepEndTime
    PerformedProcedureStepDescription PerformedProtocolCodeSequence CommentsOnThePerformedProcedureStep
    PerformedStationAETitle PerformedStationName PerformedLocation TreatmentSessionUID PresentationIntentType
    InstitutionAddress InstitutionCodeSequence InstitutionalDepartmentTypeCodeSequence DeviceSerialNumber
    SoftwareVersions GantryID UDISequence DeviceUID SpatialResolution ManufacturerDeviceClassUID
    DateOfLastCalibration TimeOfLastCalibration FrameOfReferenceUID PositionReferenceIndicator
    ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID ClinicalTrialSeriesDescription
"""


def _tags(keywords: str) -> list[int]:
    tags = [tag_for_keyword(keyword) for keyword in keywords.split()]
    return [int(tag) for tag in tags if tag is not None]


_LEVELS: Final[Mapping[int, Level]] = {
    **dict.fromkeys(_tags(_PATIENT), Level.PATIENT),
    **dict.fromkeys(_tags(_STUDY), Level.STUDY),
    **dict.fromkeys(_tags(_SERIES), Level.SERIES),
    **{tag: attribute.level for tag, attribute in BY_TAG.items()},
}


def level_of(tag: int) -> Level:
    """The level whose entity an element describes; the image's where no module of a higher level lists it."""
    return _LEVELS.get(tag, Level.IMAGE)
