"""A gateway between XMPP (Jingle) and SIP: the map of the house.

One call's way, from a user who presses call to a phone that rings:

    xmpp/component.py    takes the stanza from the server (XEP-0114); the only file that knows slixmpp
    xmpp/router.py       whose stanza is it: presence, disco, a call; limits
    xmpp/calls.py        which leg is it for, and what happens while the link is down (xmpp/outbox.py)
    xmpp/caller.py       is this legal now? A user who calls: JMI (XEP-0353), then a Jingle session (xmpp/session.py)
    session/jingle.py    reads what the user offers into session/model.py, the one model behind Jingle and SDP
    switchboard.py       gives the call a line (line.py): a machine, a bridge, legs, one timer
    routing.py           asks the dialplan, books the limits; the same when a call is sent elsewhere (REFER, 3xx)
    accounts.py          books what it may cost, before anybody is asked, and while they talk (call/meter.py)
    dialplan/plan.py     may he, and where to? A number, a SIP address, a test line; every decision explains itself
    call/machine.py      what the call does next, in terms of a caller and callees; call/hunt.py says who is asked when
    mediation.py         does the media work that it orders, one thing at a time
    bridge.py            gets media for it: allocate, negotiate (session/negotiate.py), connect
    media/engine.py      the seam; behind it media/embedded.py and the worker processes with the sockets
    sip/telephony.py     the door of the SIP room; callerleg.py and calleeleg.py translate between the call and a SIP
                         dialog, session/sdp.py writes the offer
    sip/application.py   Application, Peer, Dialog; beneath them the pure core and the transports
    ops/                 runs, checks and explains it all: cli, check, serve, log, trace, metrics, web

The way back is the same street: what a phone does becomes an event of call/events.py, the machine answers with effects
of call/effects.py, and call/causes.py is the one table that says why a call ended in every protocol. A call to a user
takes it from the other end; xmpp/callee.py asks all of his devices.

A room may import only what stands to the right of it:
ops → config → switchboard, bridge → xmpp | sip | media | storage → call → dialplan | session
→ addresses, reach → errors. (contacts.py belongs to addresses; configfile.py and settings.py to config; routing.py,
accounts.py, mediation.py, notices.py, junction.py, line.py, ledger.py, outgoing.py and trunks.py to the switchboard.)
Siblings never meet. The pure rooms (addresses, reach, session, dialplan, call, the cores of xmpp and sip) know no clock
and no wire. tests/test_house.py holds all this.
"""
