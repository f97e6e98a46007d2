#!/usr/bin/env python3
"""Writes the golden vectors of keys_test.cc with nothing but hashlib and struct: an independent reading of the byte table in
common/index/keys.h. Run it and compare its output with key_goldens.txt; a difference means that stored chunks can no longer be found."""
import hashlib
import hmac
import struct


def sha(data):
    return hashlib.sha256(data).digest()


def namespace(tenant):
    return sha(b"decant tenant v1\0" + tenant.encode())


def space_and_tokens(tenant, model, geometry, shard, run_type, tokens):
    data = namespace(tenant) + model
    data += struct.pack("<4I", *geometry) + struct.pack("<2I", *shard) + struct.pack("<I", run_type)
    return data + struct.pack("<I", len(tokens)) + struct.pack("<%dI" % len(tokens), *tokens)


def chunk_key(parent, tenant, model, geometry, shard, run_type, tokens):
    return sha(b"decant chunk v1\0" + parent + space_and_tokens(tenant, model, geometry, shard, run_type, tokens))


def segment_key(tenant, model, geometry, shard, run_type, tokens):
    return sha(b"decant segment v1\0" + space_and_tokens(tenant, model, geometry, shard, run_type, tokens))


def chain(tenant, model, geometry, shard, run_type, tokens, size):
    keys, parent = [], bytes(32)
    for i in range(len(tokens) // size):
        parent = chunk_key(parent, tenant, model, geometry, shard, run_type, tokens[i * size:(i + 1) * size])
        keys.append(parent)
    return keys


def main():
    model = sha(b"a model")
    tokens = [(i * 2654435761) % 49152 for i in range(200)]
    smol, tiny = (30, 9, 3, 64), (4, 8, 2, 32)
    cases = [
        ("default", "", smol, (0, 1), 2, 64),
        ("tenant", "blue", smol, (0, 1), 2, 64),
        ("geometry", "", tiny, (0, 1), 2, 64),
        ("shard", "", smol, (1, 2), 2, 64),
        ("run_type", "", smol, (0, 1), 1, 64),
        ("small_chunks", "", smol, (0, 1), 2, 48),
    ]
    for name, tenant, geometry, shard, run_type, size in cases:
        for i, key in enumerate(chain(tenant, model, geometry, shard, run_type, tokens, size)):
            print(name, i, key.hex())
    print("segment", 0, segment_key("", model, smol, (0, 1), 2, tokens[:64]).hex())
    print("segment", 1, segment_key("blue", model, tiny, (1, 2), 1, tokens[64:100]).hex())
    secret = bytes(range(32))
    print("salted", 0, hmac.new(secret, b"decant tenant v1\0" + b"blue", "sha256").hexdigest())


if __name__ == "__main__":
    main()
