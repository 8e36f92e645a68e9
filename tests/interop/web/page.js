// A telephone in a browser: stanza.js as it comes from the registry, over Prosody's websocket, with the browser's own
// RTCPeerConnection. The test calls the functions of `phone`; everything that is said goes through stanza's Jingle.
import { createClient } from "stanza";

let client, context, microphone, camera;
const sessions = []; // in the order in which they came up
const presences = new Map(); // full JID -> available
const waiting = new Set(); // checks to look at again when something happened

const changed = () => waiting.forEach((look) => look());

/** Resolves when `found()` is true, with its value. */
function until(found) {
  return new Promise((resolve) => {
    const look = () => {
      const value = found();
      if (value) {
        waiting.delete(look);
        resolve(value);
      }
    };
    waiting.add(look);
    look();
  });
}

/** What one call says of itself while it goes on. */
function watch(session, incoming) {
  const call = {
    session, incoming, rang: false, accepted: false, held: false, ended: null, analyser: null, audio: null,
  };
  sessions.push(call);
  // An incoming session is told of when its offer has been taken: its track event is over by then.
  for (const { track } of session.pc.getReceivers()) take(call, track);
  session.pc.addEventListener("track", (event) => take(call, event.track, event.streams[0]));
  session.pc.addEventListener("connectionstatechange", changed);
  changed();
  return call;
}

const callOf = (session) => sessions.find((call) => call.session === session);

function take(call, track, stream) {
  if (track.kind === "audio") return listen(call, stream ?? new MediaStream([track]));
  call.screen = Object.assign(document.createElement("video"), { srcObject: new MediaStream([track]), muted: true });
  call.screen.play();
}

function listen(call, stream) {
  // Chromium gives Web Audio no sound of a remote stream that no media element plays.
  call.audio = Object.assign(new Audio(), { srcObject: stream, muted: true });
  call.audio.play();
  call.analyser = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
  new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(call.analyser);
  changed();
}

function addMicrophone(session) {
  for (const track of microphone.getTracks()) session.addTrack(track, microphone);
  for (const track of camera?.getTracks() ?? []) session.addTrack(track, camera);
}

window.phone = {
  /** Logs in; `tone` (Hz) is what this telephone says in every call, 0 is silence. */
  async login(jid, password, websocket, tone, resource) {
    context = new AudioContext();
    const out = new MediaStreamAudioDestinationNode(context);
    const loudness = new GainNode(context, { gain: tone ? 0.4 : 0 });
    const oscillator = new OscillatorNode(context, { frequency: tone || 440 });
    oscillator.connect(loudness).connect(out);
    oscillator.start();
    microphone = out.stream;

    client = createClient({
      jid,
      password,
      resource,
      transports: { websocket, bosh: false },
      jingle: { iceServers: [], advertiseVideo: false, advertiseFileTransfer: false },
    });
    // For a failed test: what was said, and what stanza thought of it.
    client.on("raw:*", (direction, data) => console.log(direction, data));
    client.jingle.on("log:error", (message, ...details) => console.log(message, ...details.map(String)));
    client.on("available", (presence) => presences.set(presence.from, true));
    client.on("unavailable", (presence) => presences.set(presence.from, false));
    client.on("subscribe", (presence) => client.acceptSubscription(presence.from));
    client.on("jingle:incoming", (session) => watch(session, true));
    client.on("jingle:ringing", (session) => (callOf(session).rang = true));
    client.on("jingle:accepted", (session) => (callOf(session).accepted = true));
    client.on("jingle:hold", (session) => (callOf(session).held = true));
    client.on("jingle:resumed", (session) => (callOf(session).held = false));
    client.on("jingle:terminated", (session, reason) => {
      const call = callOf(session);
      if (call) call.ended = reason?.condition ?? "gone";
    });
    client.on("*", () => setTimeout(changed));
    const started = new Promise((resolve, reject) => {
      client.once("session:started", resolve);
      client.once("auth:failed", () => reject(new Error("wrong password")));
      client.once("--transport-disconnected", () => reject(new Error("no connection")));
    });
    client.connect();
    await started;
    await client.getRoster();
    client.updateCaps();
    client.sendPresence({ legacyCapabilities: client.disco.getCaps() });
  },

  /** Every call from now on has this bundlePolicy; "max-bundle" is what some web clients (Movim) demand. */
  async bundles(policy) {
    client.jingle.config.peerConnectionConfig.bundlePolicy = policy;
  },

  /** Every call from now on has video, of a colour that changes. */
  async film() {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
    const pen = canvas.getContext("2d");
    let turn = 0;
    setInterval(() => {
      pen.fillStyle = `hsl(${(turn += 7)} 80% 50%)`;
      pen.fillRect(0, 0, 320, 240);
    }, 66);
    camera = canvas.captureStream(15);
  },

  /** Pictures that were decoded of this call, and where the sender's are encoded. */
  async pictures() {
    const stats = [...(await sessions.at(-1).session.pc.getStats()).values()];
    const of = (type) => stats.find((each) => each.type === type && each.kind === "video") ?? {};
    const { framesDecoded = 0, keyFramesDecoded = 0, packetsReceived = 0, nackCount = 0, pliCount = 0 } = of("inbound-rtp");
    const { framesEncoded = 0, pliCount: asked = 0, retransmittedPacketsSent = 0 } = of("outbound-rtp");
    return { framesDecoded, keyFramesDecoded, packetsReceived, nackCount, pliCount, framesEncoded, asked,
      retransmittedPacketsSent };
  },

  /** Puts a contact on the roster and waits until he is online; his full JID. */
  async add(contact) {
    await client.subscribe(contact);
    return until(() => [...presences].find(([jid, here]) => here && jid.split("/")[0] === contact)?.[0]);
  },

  /** Calls a full JID, and comes back when it was answered (true) or ended (the reason). */
  async call(jid) {
    const session = client.jingle.createMediaSession(jid);
    const call = watch(session, false);
    addMicrophone(session);
    await session.start();
    return until(() => call.accepted || call.ended);
  },

  /** Waits for somebody to call; who it is. */
  async incoming() {
    const call = await until(() => sessions.find((each) => each.incoming && !each.taken));
    call.taken = true;
    return call.session.peerID;
  },

  async ring() {
    await sessions.at(-1).session.ring();
  },

  async accept() {
    const { session } = sessions.at(-1);
    addMicrophone(session);
    await session.accept();
  },

  decline() {
    sessions.at(-1).session.decline();
  },

  cancel() {
    sessions.at(-1).session.cancel();
  },

  hangUp() {
    sessions.at(-1).session.end();
  },

  /** Waits until it rings at the far side. */
  async rings() {
    return until(() => sessions.at(-1)?.rang);
  },

  async hold() {
    await sessions.at(-1).session.hold();
  },

  async resume() {
    await sessions.at(-1).session.resume();
  },

  /** Waits until the far side holds this call, or holds it no more. */
  async held(wanted) {
    return until(() => sessions.at(-1).held === wanted);
  },

  /** Restarts ICE as stanza.js does it, and comes back when voice goes another way; the new local name (ufrag). */
  async restartIce() {
    const { session } = sessions.at(-1);
    const used = async () => {
      const stats = [...(await session.pc.getStats()).values()];
      return stats.find((each) => each.type === "transport" && each.iceState !== "checking")?.iceLocalUsernameFragment;
    };
    const before = await used();
    await session.restartIce();
    for (;;) {
      const now = await used();
      if (now && now !== before && session.pc.signalingState === "stable") return [before, now];
      await new Promise((done) => setTimeout(done, 50)); // statistics have no event
    }
  },

  /** Waits until ICE and DTLS are done. */
  async connected() {
    const call = sessions.at(-1);
    return until(() => {
      const state = call.session.pc.connectionState;
      return call.analyser && (state === "connected" || state === "failed") && state;
    });
  },

  /** Waits for the end; its reason. */
  async ended() {
    const call = sessions.at(-1);
    return until(() => call.ended);
  },

  /** Presses keys (RFC 4733). */
  press(keys) {
    const sender = sessions.at(-1).session.pc.getSenders().find((each) => each.dtmf);
    sender.dtmf.insertDTMF(keys, 100, 70);
  },

  /** What was heard last: the rate, and a third of a second of samples. */
  samples() {
    const { analyser } = sessions.at(-1);
    const data = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(data);
    return { rate: context.sampleRate, samples: Array.from(data, (x) => Math.round(x * 1e4) / 1e4) };
  },

  /** How the call goes, for a failed test: states, candidates, codecs and packets. */
  async state() {
    const call = sessions.at(-1);
    if (!call) return { presences: [...presences] };
    const { pc } = call.session;
    const stats = [...(await pc.getStats()).values()];
    const pick = (type, ...keys) =>
      stats.filter((each) => each.type === type).map((each) => keys.map((key) => each[key]).join(" "));
    return {
      rang: call.rang, accepted: call.accepted, ended: call.ended, audio: context.state,
      connection: pc.connectionState, ice: pc.iceConnectionState, signaling: pc.signalingState,
      local: pick("local-candidate", "candidateType", "address", "port"),
      remote: pick("remote-candidate", "candidateType", "address", "port"),
      pairs: pick("candidate-pair", "state", "nominated", "bytesSent", "bytesReceived"),
      codecs: pick("codec", "mimeType", "payloadType"),
      received: pick("inbound-rtp", "packetsReceived", "packetsLost", "totalAudioEnergy"),
      sent: pick("outbound-rtp", "packetsSent"),
    };
  },
};
