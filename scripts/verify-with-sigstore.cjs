// Checks an exported model with the verifier of sigstore, not with our own code.
// Usage: node verify-with-sigstore.cjs MODULES DIR   (MODULES holds node_modules)
// Exit: 0 accepted, 1 refused.
"use strict";
const { createHash, createPublicKey } = require("node:crypto");
const { lstatSync, readFileSync, readdirSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");

const [modules, dir] = process.argv.slice(2);
const load = createRequire(join(modules, "package.json"));
const { bundleFromJSON } = load("@sigstore/bundle");
const { Verifier, toSignedEntity } = load("@sigstore/verify");

function refuse(why) {
  console.error(`verify-with-sigstore: ${why}`);
  process.exit(1);
}

const hex = (bytes) => createHash("sha256").update(bytes).digest("hex");

try {
  const pem = readFileSync(join(dir, "model.pub.pem"), "utf8");
  const bundle = bundleFromJSON(JSON.parse(readFileSync(join(dir, "model.sig"), "utf8")));
  // One public key is trusted, under its own hint, and nothing else.
  const publicKey = (hint) => {
    if (hint !== hex(pem)) throw new Error(`the bundle names key ${hint}, this is ${hex(pem)}`);
    return { publicKey: createPublicKey(pem), validFor: () => true };
  };
  const none = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const bounds = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };
  new Verifier({ ...none, publicKey }, bounds).verify(toSignedEntity(bundle));

  // It checks the signature of the statement; the statement names the files.
  const { predicate } = JSON.parse(bundle.content.dsseEnvelope.payload.toString("utf8"));
  for (const { name, digest } of predicate.resources) {
    const found = hex(readFileSync(join(dir, "model", name)));
    if (found !== digest) refuse(`${name}: signed ${digest}, the file is ${found}`);
  }
  const listed = new Set(predicate.resources.map((resource) => resource.name));
  const ignored = new Set(predicate.serialization.ignore_paths);
  const walk = (folder, prefix) => {
    for (const entry of readdirSync(folder)) {
      const name = prefix + entry;
      if (ignored.has(name)) continue;
      const path = join(folder, entry);
      if (lstatSync(path).isDirectory()) walk(path, `${name}/`);
      else if (!listed.has(name)) refuse(`${name} is in the folder but not signed`);
    }
  };
  walk(join(dir, "model"), "");
  console.log("sigstore: accepted");
} catch (fault) {
  refuse(fault.message);
}
