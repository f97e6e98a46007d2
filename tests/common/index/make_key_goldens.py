#!/usr/bin/env python3
"""Writes the golden vectors of keys_test.cc with nothing but hashlib and struct: an independent reading of the byte table in
common/index/keys.h. Run it and compare its output with key_goldens.txt; a difference means that stored chunks can no longer be found."""
import hashlib
import struct


def sha(data):
    return hashlib.sha256(data).digest()


def namespace(tenant):
    return sha(b"decant tenant v1\0" + tenant.encode())


def chunk_key(parent, tenant, model, geometry, shard, run_type, tokens):
    data = b"decant chunk v1\0" + parent + namespace(tenant) + model
    data += struct.pack("<4I", *geometry) + struct.pack("<2I", *shard) + struct.pack("<I", run_type)
    data += struct.pack("<I", len(tokens)) + struct.pack("<%dI" % len(tokens), *tokens)
    return sha(data)


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


if __name__ == "__main__":
    main()
