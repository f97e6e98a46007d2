#!/usr/bin/env python3
"""No kernel spills registers, and every compiled kernel file left its report.

  ptxas_test.py BUILD nvcc|none      the build folder of a preset, and whether it compiles kernels
"""
import sys

import kernel_resources

SPILLS = """ptxas info    : Compiling entry function '_Z1Kv' for 'sm_90'
ptxas info    : Function properties for _Z1Kv
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem
"""


def faults(sources):
    found = []
    for source, kernels in sorted(sources.items()):
        if kernels is None:
            found.append(f"{source}: no report of ptxas beside it; build it again")
            continue
        for kernel in kernels:
            if kernel["spills"] > 0:
                found.append(f"{source}: {kernel['name']} ({kernel['arch']}) spills {kernel['spills']} bytes of "
                             f"{kernel['registers']} registers")
    return found


def main():
    probe = {"probe.cu.o": kernel_resources.parse(SPILLS), "other.cu.o": None}
    if len(faults(probe)) != 2 or probe["probe.cu.o"][0]["registers"] != 255 or probe["probe.cu.o"][0]["shared"] != 1024:
        sys.exit("a kernel that spills, or has no report, is not seen")
    if sys.argv[2] == "none":
        print("skipped: this build has no nvcc (preset cuda has)")
        sys.exit(77)
    sources = kernel_resources.read(sys.argv[1])
    count = sum(len(kernels or []) for kernels in sources.values())
    if count == 0:
        sys.exit(f"no kernels under {sys.argv[1]}")
    if found := faults(sources):
        sys.exit("\n".join(found))
    most = max((k for kernels in sources.values() for k in kernels), key=lambda k: k["registers"])
    print(f"{count} kernels of {len(sources)} files, none spills; the most registers has {most['name']}: {most['registers']}")


if __name__ == "__main__":
    main()
