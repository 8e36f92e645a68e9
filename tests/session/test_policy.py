from __future__ import annotations

from gateway.session.model import Dtmf
from gateway.session.policy import Policy, Transcode
from gateway.session.protection import Srtp


def test_a_side_of_which_nobody_says_anything_speaks_what_every_telephone_speaks() -> None:
    policy = Policy()
    assert policy.codecs == ("PCMA", "PCMU")
    assert (policy.transcode, policy.srtp, policy.dtmf) == (Transcode.FALLBACK, Srtp.OFF, Dtmf.RFC4733)
    assert not policy.video
