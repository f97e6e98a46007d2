#include "load_tests/kernels/kernels_bench.h"

int main(int argc, char** argv) { return decant::RunKernelsBench(decant::ParseLoadTestFlags(argc, argv)); }
