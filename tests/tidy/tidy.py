#!/usr/bin/env python3
"""The rules of the house that a program can check: who may include what, how long files get, how headers are guarded, and that every source
file belongs to a target. Reads the tracked and new files of a checkout; prints one line per fault and exits 1 when there is one.

  tidy.py [ROOT]            check a tree
  tidy.py --self-test       show that every rule can fail
"""
import os
import re
import subprocess
import sys
import tempfile

ROOMS = ("common", "gpu", "services", "proto", "tests", "load_tests")
SOURCE = (".h", ".cc", ".cu", ".cuh")
MAX_LINES = 600          # of a source file outside tests
MAX_BYTES = 1 << 20      # of any tracked file but the bundled model
KERNELS = "gpu/kernels/"
BUNDLED = "deploy/models/decant-tiny/model.safetensors"

# common/: what each room may include of the others.
COMMON = {
    "base": {"base"},
    "kv": {"base", "kv"},
    "compress": {"base", "kv", "compress"},
    "model": {"base", "kv", "model"},
    "index": {"base", "kv", "compress", "index"},
    "store": {"base", "kv", "compress", "index", "store"},
    "policy": {"base", "kv", "compress", "index", "store", "policy"},
    "link": {"base", "kv", "compress", "link"},
    "metrics": {"base", "metrics"},
}
GRPC = re.compile(r"grpc|\.pb\.h$|^google/protobuf/")
STORES = re.compile(r"^(rocksdb|hiredis)/")
CUDA = re.compile(r"^(cuda|nccl|cub/|thrust/|cublas|mma\.h)")
GRPC_FILES = re.compile(r"^(services/rpc/|services/[a-z]+/[a-z_]*_rpc(_[a-z]+)?\.(h|cc)$|services/[a-z]+/(app|main)\.cc$|services/cli/|tests/|load_tests/)")
PROMETHEUS_FILES = re.compile(r"^(common/metrics/|services/rpc/|tests/|load_tests/)")


def tracked(root):
    out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    return sorted(f for f in out.splitlines() if os.path.isfile(os.path.join(root, f)))


def check_include(path, target):
    room = path.split("/")[0]
    parts = path.split("/")
    into = target.split("/")
    if GRPC.search(target) and not GRPC_FILES.match(path):
        return "gRPC and generated protos stay in services/rpc, *_rpc, app.cc, main.cc, the cli and tests"
    if CUDA.match(target) and not path.startswith(("gpu/", "tests/", "load_tests/")):
        return "CUDA and NCCL headers stay under gpu/"
    if STORES.match(target) and not path.startswith(("services/pool/tiers/", "tests/services/pool/tiers/")):
        return "RocksDB and hiredis stay in services/pool/tiers"
    if target.startswith("prometheus/") and not PROMETHEUS_FILES.match(path):
        return "prometheus headers stay in common/metrics and services/rpc"
    if into[0] not in ROOMS:
        return None
    if room == "common" and into[0] != "common":
        return "common includes only common"
    if room == "common" and len(into) > 2 and len(parts) > 2 and into[1] not in COMMON.get(parts[1], set()):
        return f"common/{parts[1]} may not include common/{into[1]}"
    if room == "gpu" and into[0] not in ("common", "gpu"):
        return "gpu includes only common and gpu"
    if room == "services" and into[0] in ("tests", "load_tests"):
        return "services do not include tests"
    if room == "services" and into[0] == "services" and len(into) > 2:
        mine, theirs = parts[1], into[1]
        if mine == "cli" and (theirs in ("cli", "rpc") or into[2] == "app.h"):
            return None
        if theirs not in (mine, "rpc"):
            return "no service includes another (the cli may include each app.h)"
    return None


def check_file(root, path, faults):
    full = os.path.join(root, path)
    if os.path.getsize(full) > MAX_BYTES and path != BUNDLED:
        faults.append(f"{path}: {os.path.getsize(full)} bytes; tracked files stay below {MAX_BYTES}")
    if not path.endswith(SOURCE):
        return
    with open(full, encoding="utf-8") as f:
        lines = f.read().splitlines()
    if len(lines) > MAX_LINES and not path.startswith("tests/"):
        faults.append(f"{path}: {len(lines)} lines; is it really one noun? (limit {MAX_LINES})")
    if path.endswith(".h") and not path.endswith("-inl.h"):  # Highway includes those once per target
        guard = "DECANT_" + re.sub(r"[^A-Z0-9]", "_", path.upper()) + "_"
        # Headers that are read once per vector target toggle their guard.
        opening = f"#if defined({guard}) == defined(HWY_TARGET_TOGGLE)" if path.endswith("-inl.h") else f"#ifndef {guard}"
        if opening not in lines or f"#define {guard}" not in lines:
            faults.append(f"{path}: header guard should be {guard}")
    for number, line in enumerate(lines, 1):
        include = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        why = check_include(path, include.group(1)) if include else None
        if why:
            faults.append(f"{path}:{number}: includes {include.group(1)}: {why}")
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            faults.append(f"{path}:{number}: unfinished mark; finish it or open an issue")
    if path.startswith("tests/") and path.endswith("_test.cc") and not re.search(r"EXPECT_|ASSERT_|Expect[A-Z]|static_assert|FAIL\(", "\n".join(lines)):
        faults.append(f"{path}: a test that asserts nothing")


def check_targets(root, files, faults):
    """A .cc or .cu that no CMakeLists.txt of its folder (or above) names or globs is dead."""
    for path in files:
        if not path.endswith((".cc", ".cu")) or path.startswith("tests/tidy/"):
            continue
        folder, name = os.path.split(path)
        found = False
        while folder and not found:
            listing = os.path.join(root, folder, "CMakeLists.txt")
            if os.path.isfile(listing):
                text = open(listing, encoding="utf-8").read()
                found = name in text or "GLOB" in text
            folder = os.path.dirname(folder)
        if not found:
            faults.append(f"{path}: no target lists it")


def check_kernels(root, files, faults):
    """gpu/kernels/README.md is the one table of what runs where: it names every operation, and every other file that is no schedule of one."""
    table = os.path.join(root, KERNELS, "README.md")
    said = set(re.findall(r"`([A-Za-z_0-9]+)`", open(table, encoding="utf-8").read())) if os.path.isfile(table) else set()
    for path in files:
        if not path.startswith(KERNELS) or not path.endswith(".cc") or path.endswith("_host.cc"):
            continue
        operations = re.findall(r"DECANT_DISPATCH\((\w+)", open(os.path.join(root, path), encoding="utf-8").read())
        for name in operations or [os.path.basename(path)[:-3]]:
            if name not in said:
                faults.append(f"{path}: {KERNELS}README.md does not say where {name} runs")


def check(root):
    faults = []
    files = tracked(root)
    for path in files:
        check_file(root, path, faults)
    check_targets(root, files, faults)
    check_kernels(root, files, faults)
    return faults


def self_test():
    cases = {
        "common/kv/a.h": ('#include "gpu/device/device.h"\n', "common includes only common"),
        "common/base/b.h": ('#include "common/kv/page.h"\n', "common/base may not include common/kv"),
        "common/policy/c.h": ("#include <grpcpp/grpcpp.h>\n", "gRPC and generated protos"),
        "services/pool/pool.h": ("#include <cuda_runtime.h>\n", "CUDA and NCCL"),
        "services/pool/e.h": ("#include <rocksdb/db.h>\n", "RocksDB and hiredis"),
        "services/pool/d.h": ('#include "services/router/router.h"\n', "no service includes another"),
        "services/router/router.cc": ('#include "decant/v1/pool.pb.h"\n', "gRPC and generated protos"),
        "gpu/engine/e.h": ('#include "services/rpc/server.h"\n', "gpu includes only"),
        "gpu/engine/long.cc": ("//\n" * (MAX_LINES + 1), "one noun"),
        "gpu/engine/guard.h": ("#pragma once\n", "header guard"),
        "gpu/engine/mark.cc": ("// TODO later\n", "unfinished mark"),
        "gpu/engine/dead.cc": ("int x;\n", "no target lists it"),
        "gpu/kernels/pages/unsaid.cc": ("void F(Stream& s) { DECANT_DISPATCH(UnsaidOp, s); }\n", "does not say where UnsaidOp runs"),
        "gpu/kernels/codec/apart.cc": ("int x;\n", "does not say where apart runs"),
        "tests/gpu/empty_test.cc": ("int main() {}\n", "asserts nothing"),
        "deploy/big.bin": ("x" * (MAX_BYTES + 1), "tracked files stay below"),
    }
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["git", "-C", root, "init", "-q"], check=True)
        for path, (text, _) in cases.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        faults = check(root)
        for path, (_, why) in cases.items():
            if not any(f.startswith(path) and why in f for f in faults):
                sys.exit(f"self-test: {path} should fail with '{why}', got {[f for f in faults if f.startswith(path)]}")
    print(f"{len(cases)} rules can fail")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", ".."))
    faults = check(root)
    print("\n".join(faults) if faults else "tidy")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
