"""The sample files of `serve --demo`: the sentence about them tells the truth."""

from dicomweb.supervisor.demo import summary


def test_the_summary_tells_stored_versions_and_the_rest_apart() -> None:
    """Conflicts (reason 0111) are other versions of an image, not damaged files (PS3.18 Table I.2-2)."""
    failed = [{"00081197": {"vr": "US", "Value": [reason]}} for reason in (0x0111, 0x0111, 0xA900)]
    result = {"00081199": {"vr": "SQ", "Value": [{}, {}]}, "00081198": {"vr": "SQ", "Value": failed}}
    text = summary(6, result, "http://x")
    assert text.startswith("Loaded 2 of 6 sample files of pydicom: 2 are other versions of the same images, 2 cannot")
