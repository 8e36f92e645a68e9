#!/bin/sh
# Prosody with the configuration beside this file, and its users: XMPP_USERS="juliet:password romeo:password".
# Users that are there already are left as they are.
set -eu
configuration=$(dirname "$0")/prosody.cfg.lua

for user in ${XMPP_USERS:-}; do
  prosodyctl --config "$configuration" register "${user%%:*}" "${XMPP_DOMAIN:-shakespeare.lit}" "${user#*:}" || :
done
exec prosody --config "$configuration" -F
