// Rows of bytes to other places, in the widest units that their addresses allow.
#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

template <typename Unit>
__global__ void GatherUnits(GatherRowsArgs args) {
  const auto units = static_cast<int32_t>(args.row_bytes / static_cast<int64_t>(sizeof(Unit)));
  const RowSpan span = SpanOf(units);
  const auto* const from = static_cast<const Unit*>(args.in) + int64_t{Load(args.rows + span.row)} * units;
  auto* const to = static_cast<Unit*>(args.out) + span.row * units;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) Store(to + i, Load(from + i));
}

template <typename Unit>
__global__ void ScatterUnits(ScatterRowsArgs args) {
  const auto units = static_cast<int32_t>(args.row_bytes / static_cast<int64_t>(sizeof(Unit)));
  const RowSpan span = SpanOf(units);
  const int64_t group = span.row / args.count;
  const int64_t row = span.row - group * args.count;
  const auto* const in = static_cast<const char*>(args.in) + group * args.in_group_bytes;
  auto* const out = static_cast<char*>(args.out) + group * args.out_group_bytes;
  const auto* const from = reinterpret_cast<const Unit*>(in) + row * units;
  auto* const to = reinterpret_cast<Unit*>(out) + int64_t{Load(args.rows + row)} * units;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) Store(to + i, Load(from + i));
}

// Whether rows, and what else is added to their addresses, keep whole units whole.
bool Fits(int64_t unit, const void* in, const void* out, int64_t row_bytes, int64_t more_bytes) {
  const auto from = static_cast<int64_t>(reinterpret_cast<uintptr_t>(in) % 16);
  const auto to = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % 16);
  return from % unit == 0 && to % unit == 0 && row_bytes % unit == 0 && more_bytes % unit == 0;
}

template <typename Unit>
void Gather(Stream& stream, const GatherRowsArgs& args) {
  const dim3 grid = RowGrid(args.count, args.row_bytes / static_cast<int64_t>(sizeof(Unit)));
  DECANT_LAUNCH((GatherUnits<Unit>), grid, dim3(kRowThreads), 0, stream, args);
}

template <typename Unit>
void Scatter(Stream& stream, const ScatterRowsArgs& args) {
  const dim3 grid = RowGrid(args.count * args.groups, args.row_bytes / static_cast<int64_t>(sizeof(Unit)));
  DECANT_LAUNCH((ScatterUnits<Unit>), grid, dim3(kRowThreads), 0, stream, args);
}

}  // namespace

void GatherRowsCuda(Stream& stream, const GatherRowsArgs& args) {
  if (Fits(16, args.in, args.out, args.row_bytes, 0)) return Gather<uint4>(stream, args);
  if (Fits(4, args.in, args.out, args.row_bytes, 0)) return Gather<uint32_t>(stream, args);
  Gather<uint8_t>(stream, args);
}

void ScatterRowsCuda(Stream& stream, const ScatterRowsArgs& args) {
  const int64_t apart = args.in_group_bytes | args.out_group_bytes;
  if (Fits(16, args.in, args.out, args.row_bytes, apart)) return Scatter<uint4>(stream, args);
  if (Fits(4, args.in, args.out, args.row_bytes, apart)) return Scatter<uint32_t>(stream, args);
  Scatter<uint8_t>(stream, args);
}

}  // namespace decant
