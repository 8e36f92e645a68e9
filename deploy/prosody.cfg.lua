-- A small XMPP server beside the gateway: `make demo`, the tests and docker-compose.yml all run with this file.
-- Whatever differs between them comes from the environment: Prosody shows XMPP_DOMAIN as ENV_XMPP_DOMAIN.
-- To put the gateway beside a Prosody that you have, only the Component block at the end is needed.

local number = Lua and Lua.tonumber or tonumber -- Prosody 13 hides Lua's own functions in `Lua`
local listen = ENV_XMPP_LISTEN or "127.0.0.1"
local domain = ENV_XMPP_DOMAIN or "shakespeare.lit"
local data = ENV_XMPP_DATA or "/var/lib/prosody"

run_as_root = true -- in a container and in tests; a service installed from a package runs as its own user
data_path = data
certificates = data -- none are there, and none are needed (see below)
pidfile = data .. "/prosody.pid"
log = { { levels = { min = ENV_XMPP_LOG or "info" }, to = "console" } }

interfaces = { listen }
c2s_ports = { number(ENV_XMPP_CLIENT_PORT or "5222") }
c2s_direct_tls_ports = {}
component_interfaces = { listen }
component_ports = { number(ENV_XMPP_COMPONENT_PORT or "5347") }
http_interfaces = { listen }
http_ports = { number(ENV_XMPP_HTTP_PORT or "5280") }
https_ports = {}
http_default_host = domain

modules_enabled = {
  "roster", "saslauth", "disco", "ping", "pep", "carbons", "smacks", "blocklist", "vcard4", "vcard_legacy",
  "offline", "websocket",
}
modules_disabled = { "s2s" }

-- Everything here stays on loopback, so that no certificate is needed. A public server wants one, and "tls" above.
c2s_require_encryption = false
allow_unencrypted_plain_auth = false -- SCRAM needs none
consider_websocket_secure = true
authentication = "internal_hashed"
storage = "internal"

VirtualHost(domain)

Component(ENV_XMPP_COMPONENT or ("sip." .. domain))
  component_secret = ENV_XMPP_COMPONENT_SECRET or "change me"
  component_conflict_resolve = "kick_old" -- after a crash the gateway must not wait for its own old link to time out
