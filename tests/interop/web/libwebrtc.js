// libwebrtc, as npm has it (@roamhq/wrtc), as one end of a call: it says a tone, and keeps what it hears.
// A command is a line of JSON on stdin, its answer one on stdout:
//   {"do": "offer", "restart": false}   -> {"sdp"}, with all candidates
//   {"do": "answer", "sdp": offer}      -> {"sdp"}
//   {"do": "accept", "sdp": answer}     -> {}
//   {"do": "heard"}                     -> {"samples": 16 bit in base64, "rate", "state"}, and a new recording begins
const readline = require("node:readline");
const { RTCPeerConnection, nonstandard } = require("@roamhq/wrtc");

const RATE = 48000;
const PIECE = RATE / 100;
const tone = Number(process.argv[2]);
const pc = new RTCPeerConnection();
const source = new nonstandard.RTCAudioSource();
let position = 0;
let heard = [];
let rate = RATE;

pc.addTrack(source.createTrack());
pc.ontrack = ({ track }) => {
  const sink = new nonstandard.RTCAudioSink(track);
  sink.ondata = (data) => {
    rate = data.sampleRate;
    heard.push(Buffer.from(data.samples.slice(0, data.numberOfFrames).buffer));
    heard = heard.slice(-500);
  };
};

const started = Date.now();
setInterval(() => {
  while (position / RATE < (Date.now() - started) / 1000) {
    const samples = new Int16Array(PIECE);
    for (let n = 0; n < PIECE; n += 1, position += 1) {
      samples[n] = 13000 * Math.sin((2 * Math.PI * tone * position) / RATE);
    }
    source.onData({ samples, sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: PIECE });
  }
}, 10);

const gathered = async () => {
  while (pc.iceGatheringState !== "complete") {
    await new Promise((resolve) => pc.addEventListener("icegatheringstatechange", resolve, { once: true }));
  }
  return { sdp: pc.localDescription.sdp };
};

const commands = {
  offer: async ({ restart }) => {
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: restart }));
    return gathered();
  },
  answer: async ({ sdp }) => {
    await pc.setRemoteDescription({ type: "offer", sdp });
    await pc.setLocalDescription(await pc.createAnswer());
    return gathered();
  },
  accept: async ({ sdp }) => {
    await pc.setRemoteDescription({ type: "answer", sdp });
    return {};
  },
  heard: async () => {
    const samples = Buffer.concat(heard).toString("base64");
    heard = [];
    return { samples, rate, state: pc.iceConnectionState };
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  try {
    console.log(JSON.stringify({ number: command.number, ...(await commands[command.do](command)) }));
  } catch (error) {
    console.log(JSON.stringify({ number: command.number, error: String(error) }));
  }
});
