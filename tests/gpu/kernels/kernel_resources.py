"""What ptxas said of every kernel of a build: common/cmake/keep_ptxas.sh keeps it beside the objects."""
import os
import re
import subprocess

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def parse(text):
    """One dict a kernel: mangled name, architecture, registers, shared (static bytes), stack and spills in bytes."""
    kernels = []
    for line in text.splitlines():
        if entry := ENTRY.search(line):
            kernels.append({"name": entry[1], "arch": entry[2], "registers": 0, "shared": 0, "stack": 0, "spills": 0})
        elif (stack := STACK.search(line)) and kernels:
            kernels[-1]["stack"] = int(stack[1])
            kernels[-1]["spills"] = int(stack[2]) + int(stack[3])
        elif (used := USED.search(line)) and kernels:
            kernels[-1]["registers"] = int(used[1])
            shared = SHARED.search(line)
            kernels[-1]["shared"] = int(shared[1]) if shared else 0
    return kernels


def read(build):
    """{source: kernels} of every compiled .cu under a build folder; of one without a report the value is None."""
    sources = {}
    for folder, _, files in os.walk(build):
        for name in files:
            if not name.endswith(".cu.o") or "on_launcher" in folder or "launcher_probes" in folder:
                continue
            report = os.path.join(folder, name + ".ptxas")
            source = os.path.relpath(os.path.join(folder, name), build)
            sources[source] = parse(open(report, encoding="utf-8").read()) if os.path.isfile(report) else None
    return sources


def demangle(names):
    out = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    plain = [line.replace("(anonymous namespace)::", "").replace("decant::", "") for line in out.splitlines()]
    return dict(zip(names, plain))
