"""Positive acquisition evidence: what real equipment of a modality writes about how it acquired.

An object passes if enough groups of attributes of its modality hold; device, moment and frame rate alone are
never enough. That survives de-identification, which leaves physics alone; a converted volume has none of
it. ImageType ORIGINAL is no part of it: simulators, converters and AI products write it too. Headers can be
forged: this tells what lies under an honest object, not who is honest.

Modules: PS3.3 sections C.8.2 (CT), C.8.3 (MR), C.8.1, C.8.7 and C.8.11 (X-ray), C.8.5.5 and C.8.5.6 (US),
C.8.4 and C.8.9 (NM, PET), C.8.17 (ophthalmic), C.8.12 (visible light), C.10.9 (waveform).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom.datadict import tag_for_keyword

from ..dicom.dataset import Dataset, tag_name
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Axis, Evidence, Origin, Strength

_SOP_CLASS = 0x00080016
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)
_MAX_MACROS = 64
_MAX_VALUE = 128
_FEWEST_SEQUENCE_BYTES = 8
# Not evidence: zero in any notation, and what toolkits write where nothing is known.
_ZEROS = b" \0\\0.+-E"
_PLACEHOLDERS = frozenset({b"NONE", b"UNKNOWN", b"NA", b"N/A", b"RM", b"UNDEFINED", b"NOT AVAILABLE"})


class Group(NamedTuple):
    """Attributes of which one must have a value; each alternative is attributes that must have one together.

    `is_context`: device, moment or frame rate, which alone never show an acquisition, and whose values are
    not repeated in evidence. `values`: if not empty, what the value must be one of.
    """

    name: str
    alternatives: tuple[tuple[Tag, ...], ...]
    is_context: bool = False
    values: frozenset[bytes] = frozenset()


class Rule(NamedTuple):
    """The groups of one modality, and how many must hold for objects of `sop_classes`."""

    name: str
    sop_classes: tuple[str, ...]
    groups: tuple[Group, ...]
    needs: int


def _group(name: str, keywords: str, *, context: bool = False, values: str = "") -> Group:
    """A group from keywords: blanks separate alternatives, `+` joins attributes needed together."""
    alternatives = tuple(
        tuple(_tag(keyword) for keyword in alternative.split("+")) for alternative in keywords.split()
    )
    return Group(name, alternatives, context, frozenset(value.encode() for value in values.split()))


def _tag(keyword: str) -> Tag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is no keyword of this version of pydicom")
    return tag


_DEVICE = _group("device", "Manufacturer+DeviceSerialNumber", context=True)
_MOMENT = _group("moment", "AcquisitionDate+AcquisitionTime AcquisitionDateTime", context=True)
# The landmark at which a table was zeroed (PS3.3 section C.7.4.1.1.2): an operator's act at a scanner.
_LANDMARK = _group("landmark", "PositionReferenceIndicator", values="SN OM XY IC SP EAM LCM AM WR KN SH")

_CT = (
    _group("beam", "KVP"),
    _group("exposure", "XRayTubeCurrent Exposure ExposureTime ExposureInmAs XRayTubeCurrentInmA CTDIvol"),
    _group("gantry", "TableHeight RotationDirection GantryDetectorTilt DistanceSourceToDetector TableSpeed"),
    _group("reconstruction", "ConvolutionKernel ReconstructionDiameter DataCollectionDiameter"),
    _group("scan", "ScanOptions AcquisitionType RevolutionTime SpiralPitchFactor TotalCollimationWidth"),
    _group("tube", "FocalSpots GeneratorPower FilterType FilterMaterial"),
    _LANDMARK,
    _DEVICE,
    _MOMENT,
)
# All that is left of some published CT: table position and calibration. Converters leave the landmark empty.
_CT_POSITIONED = (
    _LANDMARK,
    _group("position", "PatientPosition+SliceLocation+FrameOfReferenceUID"),
    _group("calibration", "RescaleType", values="HU"),
)
_MR = (
    _group("sequence", "ScanningSequence SequenceName PulseSequenceName EchoPulseSequence"),
    _group("timing", "RepetitionTime+EchoTime RepetitionTime+EffectiveEchoTime RepetitionTime+InversionTime"),
    _group("field", "MagneticFieldStrength ImagingFrequency TransmitterFrequency"),
    _group("nucleus", "ImagedNucleus ResonantNucleus"),
    _group(
        "readout", "PixelBandwidth AcquisitionMatrix NumberOfPhaseEncodingSteps EchoTrainLength FlipAngle"
    ),
    _group("coil", "ReceiveCoilName TransmitCoilName ReceiveCoilType TransmitCoilType"),
    _group("safety", "SAR dBdt SpecificAbsorptionRateValue GradientOutput"),
    _LANDMARK,
    _DEVICE,
    _MOMENT,
)
_XRAY = (
    _group("beam", "KVP"),
    _group(
        "exposure",
        "Exposure ExposureInuAs ExposureInmAs ExposureTime ExposureTimeInms XRayTubeCurrent"
        " XRayTubeCurrentInmA RelativeXRayExposure ExposureIndex Sensitivity EntranceDoseInmGy"
        " ImageAndFluoroscopyAreaDoseProduct",
    ),
    _group(
        "geometry", "DistanceSourceToDetector DistanceSourceToPatient PositionerPrimaryAngle PositionerType"
    ),
    _group("detector", "DetectorType DetectorID ImagerPixelSpacing CassetteSize PlateID PlateType Grid"),
    _group("tube", "AnodeTargetMaterial FocalSpots FilterMaterial FilterType"),
    _group("breast", "CompressionForce BodyPartThickness OrganDose"),
    _group("fluoroscopy", "RadiationSetting RadiationMode AveragePulseWidth IntensifierSize"),
    _group("response", "PixelIntensityRelationship"),
    _DEVICE,
    _MOMENT,
)
_US = (
    _group("regions", "SequenceOfUltrasoundRegions"),
    _group("transducer", "TransducerData TransducerType TransducerFrequency"),
    _group("beam", "MechanicalIndex SoftTissueThermalIndex BoneThermalIndex DepthOfScanField FocusDepth"),
    _group("presets", "ProcessingFunction OutputPower"),
    _group("cine", "FrameTime CineRate FrameTimeVector RecommendedDisplayFrameRate", context=True),
    _group("device", "Manufacturer+ManufacturerModelName Manufacturer+DeviceSerialNumber", context=True),
    _MOMENT,
)
_NUCLEAR = (
    _group("radiopharmaceutical", "RadiopharmaceuticalInformationSequence Radiopharmaceutical"),
    _group("counts", "ActualFrameDuration CountsAccumulated CountsSource FrameReferenceTime"),
    _group(
        "corrections",
        "RandomsCorrectionMethod ScatterCorrectionMethod AttenuationCorrectionMethod DecayFactor",
    ),
    _group("detector", "DetectorInformationSequence AxialAcceptance FieldOfViewShape TypeOfDetectorMotion"),
    _group("energy", "EnergyWindowInformationSequence EnergyWindowRangeSequence"),
    _group("reconstruction", "ReconstructionMethod ScanVelocity RotationInformationSequence"),
    _DEVICE,
    _MOMENT,
)
_OPHTHALMIC = (
    _group(
        "light", "IlluminationTypeCodeSequence IlluminationWaveLength LightPathFilterTypeStackCodeSequence"
    ),
    _group(
        "optics",
        "EmmetropicMagnification HorizontalFieldOfView DepthSpatialResolution MaximumDepthDistortion",
    ),
    _group("eye", "PupilDilated AxialLengthOfTheEye IntraOcularPressure RefractiveStateSequence"),
    _group("acquisition", "AcquisitionDeviceTypeCodeSequence"),
    _DEVICE,
    _MOMENT,
)
_VISIBLE = (
    _group("optics", "OpticalPathSequence IlluminationTypeCodeSequence FNumber ExposureTimeInSeconds"),
    _group("slide", "ImagedVolumeWidth+ImagedVolumeHeight SpecimenDescriptionSequence"),
    _group("focus", "FocusMethod ExtendedDepthOfField"),
    _DEVICE,
    _MOMENT,
)
_WAVEFORM = (
    _group("channels", "WaveformSequence"),
    _DEVICE,
    _MOMENT,
)

_STORAGE = "1.2.840.10008.5.1.4.1.1."


def _classes(suffixes: str) -> tuple[str, ...]:
    return tuple(_STORAGE + suffix for suffix in suffixes.split())


RULES = (
    Rule("acquisition.ct", _classes("2 2.1 2.2"), _CT, 3),
    Rule("acquisition.ct-positioned", _classes("2"), _CT_POSITIONED, 3),
    Rule("acquisition.mr", _classes("4 4.1 4.2 4.3 4.4"), _MR, 3),
    Rule("acquisition.cr", _classes("1"), _XRAY, 3),
    Rule("acquisition.dx", _classes("1.1 1.1.1"), _XRAY, 3),
    Rule("acquisition.mg", _classes("1.2 1.2.1 13.1.3 13.1.4 13.1.5"), _XRAY, 3),
    Rule("acquisition.io", _classes("1.3 1.3.1"), _XRAY, 3),
    Rule("acquisition.xa", _classes("12.1 12.1.1 12.3 13.1.1 13.1.2"), _XRAY, 3),
    Rule("acquisition.rf", _classes("12.2 12.2.1"), _XRAY, 3),
    Rule("acquisition.us", _classes("6 6.1 3 3.1 6.2"), _US, 2),
    Rule("acquisition.nm", _classes("20"), _NUCLEAR, 3),
    Rule("acquisition.pt", _classes("128 130"), _NUCLEAR, 3),
    Rule("acquisition.op", _classes("77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5 77.1.5.6"), _OPHTHALMIC, 3),
    Rule(
        "acquisition.vl",
        _classes("77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.6 77.1.7"),
        _VISIBLE,
        3,
    ),
    Rule("acquisition.ecg", _classes("9.1.1 9.1.2 9.1.3 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1"), _WAVEFORM, 3),
)
_BY_CLASS = {
    uid: tuple(rule for rule in RULES if uid in rule.sop_classes)
    for uid in {uid for rule in RULES for uid in rule.sop_classes}
}


def acquisition_evidence(header: Header) -> tuple[Evidence, ...]:
    """The groups that show an acquisition, as many as the modality's rule needs; () where they are too few.

    Enhanced multi-frame objects keep them in functional groups (PS3.3 section C.7.6.16): those shared by all
    frames, and of the first frame, are looked at too. Never raises.
    """
    for rule in _BY_CLASS.get(header.text(_SOP_CLASS), ()):
        for places in _places(header):
            found = _hold(rule, places)
            if found:
                return found
    return ()


def _places(header: Header) -> Iterator[list[Dataset]]:
    """Where to look: the top level, and then its functional groups with it."""
    yield [header]
    macros: list[Dataset] = [header]
    for groups in _FUNCTIONAL_GROUPS:
        if groups in header:
            for item in header.items(groups, 1):
                for tag in list(item.elements)[:_MAX_MACROS]:
                    macros.extend(item.items(tag, 1))
    if len(macros) > 1:
        yield macros


def _hold(rule: Rule, places: list[Dataset]) -> tuple[Evidence, ...]:
    found: list[Evidence] = []
    shows_physics = False
    for group in rule.groups:
        tag = _first_to_hold(group, places)
        if tag is not None:
            found.append(_evidence(rule, group, tag, places))
            shows_physics = shows_physics or not group.is_context
        if len(found) == rule.needs:
            break
    return tuple(found) if shows_physics and len(found) == rule.needs else ()


def _first_to_hold(group: Group, places: list[Dataset]) -> Tag | None:
    for alternative in group.alternatives:
        if all(any(_has_value(place, tag, group.values) for place in places) for tag in alternative):
            return alternative[0]
    return None


def _has_value(dataset: Dataset, tag: Tag, values: frozenset[bytes]) -> bool:
    element = dataset.elements.get(tag)
    if element is None:
        return False
    if element.undefined or element.vr == b"SQ":
        return element.end - element.value > _FEWEST_SEQUENCE_BYTES
    value = dataset.buffer[element.value : min(element.end, element.value + _MAX_VALUE)].strip(b" \0").upper()
    if values:
        return value in values
    return bool(value.strip(_ZEROS)) and value not in _PLACEHOLDERS


def _evidence(rule: Rule, group: Group, tag: Tag, places: list[Dataset]) -> Evidence:
    raw = next(place.raw(tag) for place in places if _has_value(place, tag, group.values)).strip(b" \0")
    text = "" if group.is_context else raw[:_MAX_VALUE].decode("ascii", "replace")
    value = text if text.isascii() and text.isprintable() and text else "present"
    return Evidence(rule.name, tag_name(tag), value, Axis.ORIGIN, Origin.ACQUIRED.value, Strength.EQUIPMENT)
