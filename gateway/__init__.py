"""A gateway between XMPP (Jingle) and SIP."""
