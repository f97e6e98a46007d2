// The operations that do the same to every element of a row.
#include <cmath>

#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

__global__ void AddBiasRows(AddBiasArgs args) {
  const RowSpan span = SpanOf(args.width);
  float* const x = args.x + span.row * args.width;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) Store(x + i, Load(x + i) + Load(args.bias + i));
}

template <typename T>
__global__ void ConvertRowsTo(ConvertRowsArgs args) {
  const int32_t width = args.groups * args.width;
  const RowSpan span = SpanOf(width);
  const float* const in = args.in + span.row * args.in_stride;
  T* const out = static_cast<T*>(args.out) + span.row * args.out_row_stride;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) {
    const int32_t group = i / args.width;
    StoreRun(out + group * args.out_group_stride + (i - group * args.width), Load(in + i));
  }
}

template <typename T>
__global__ void GateRows(SwiGluArgs args) {
  const RowSpan span = SpanOf(args.width);
  const float* const gates = args.gate_up + span.row * 2 * args.width;
  T* const out = static_cast<T*>(args.out) + span.row * args.width;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) {
    const float gate = Load(gates + i);
    // exp's argument stays in its range; beyond it the quotient is 0 or the gate anyway.
    const float power = expf(-gate < 87.0f ? -gate : 87.0f);
    StoreRun(out + i, gate / (1.0f + power) * Load(gates + args.width + i));
  }
}

template <typename T>
__global__ void EmbedRows(const T* table, const int32_t* ids, int32_t width, float* out) {
  const RowSpan span = SpanOf(width);
  const T* const from = table + int64_t{Load(ids + span.row)} * width;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) Store(out + span.row * width + i, LoadRun(from + i));
}

__global__ void AnglesOfRows(RopeAnglesArgs args) {
  const int32_t half = args.head_dim / 2;
  const RowSpan span = SpanOf(half);
  float* const out = args.angles + span.row * args.head_dim;
  const auto position = static_cast<float>(Load(args.positions + span.row));
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) {
    const float angle = position * Load(args.inverse_frequencies + i);
    Store(out + i, cosf(angle) * args.magnitude);
    Store(out + half + i, sinf(angle) * args.magnitude);
  }
}

__global__ void RotateRows(RopeArgs args) {
  const int32_t half = args.head_dim / 2;
  const RowSpan span = SpanOf(args.heads * half);
  const float* const cosines = args.angles + span.row * args.head_dim;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) {
    const int32_t head = i / half;
    const int32_t pair = i - head * half;
    float* const low = args.x + span.row * args.stride + int64_t{head} * args.head_dim + pair;
    const float a = Load(low);
    const float b = Load(low + half);
    const float c = Load(cosines + pair);
    const float s = Load(cosines + half + pair);
    Store(low, a * c - b * s);
    Store(low + half, b * c + a * s);
  }
}

// A row of the grid is a token, whose heads lie `capacity` tokens apart.
template <typename T>
__global__ void UnrotateRows(UnrotateKeysArgs args) {
  const int32_t half = args.head_dim / 2;
  const RowSpan span = SpanOf(args.heads * half);
  const float* const cosines = args.angles + span.row * args.head_dim;
  for (int32_t i = span.begin; i < span.end; i += kRowThreads) {
    const int32_t head = i / half;
    const int32_t pair = i - head * half;
    const int64_t at = (head * args.capacity + span.row) * args.head_dim + pair;
    const T* const in = static_cast<const T*>(args.k) + at;
    T* const out = static_cast<T*>(args.out) + at;
    const float c = Load(cosines + pair);
    const float s = Load(cosines + half + pair);
    // cos^2 + sin^2 is the square of the magnitude that both were multiplied by.
    const float scale = 1.0f / (c * c + s * s);
    const float a = LoadRun(in);
    const float b = LoadRun(in + half);
    StoreRun(out, (a * c + b * s) * scale);
    StoreRun(out + half, (b * c - a * s) * scale);
  }
}

}  // namespace

void AddBiasCuda(Stream& stream, const AddBiasArgs& args) {
  DECANT_LAUNCH(AddBiasRows, RowGrid(args.rows, args.width), dim3(kRowThreads), 0, stream, args);
}

void ConvertRowsCuda(Stream& stream, const ConvertRowsArgs& args) {
  const dim3 grid = RowGrid(args.rows, int64_t{args.groups} * args.width);
  if (args.out_type == RunType::kBf16) {
    DECANT_LAUNCH((ConvertRowsTo<Bf16>), grid, dim3(kRowThreads), 0, stream, args);
  } else {
    DECANT_LAUNCH((ConvertRowsTo<float>), grid, dim3(kRowThreads), 0, stream, args);
  }
}

void SwiGluCuda(Stream& stream, const SwiGluArgs& args) {
  const dim3 grid = RowGrid(args.rows, args.width);
  if (args.out_type == RunType::kBf16) {
    DECANT_LAUNCH((GateRows<Bf16>), grid, dim3(kRowThreads), 0, stream, args);
  } else {
    DECANT_LAUNCH((GateRows<float>), grid, dim3(kRowThreads), 0, stream, args);
  }
}

void EmbedCuda(Stream& stream, const EmbedArgs& args) {
  const PackedMatrix& table = *args.table;
  const dim3 grid = RowGrid(args.rows, table.inputs);
  if (table.type == RunType::kBf16) {
    DECANT_LAUNCH((EmbedRows<Bf16>), grid, dim3(kRowThreads), 0, stream, table.memory.As<Bf16>(), args.ids,
                  table.inputs, args.out);
  } else {
    DECANT_LAUNCH((EmbedRows<float>), grid, dim3(kRowThreads), 0, stream, table.memory.As<float>(), args.ids,
                  table.inputs, args.out);
  }
}

void RopeAnglesCuda(Stream& stream, const RopeAnglesArgs& args) {
  DECANT_LAUNCH(AnglesOfRows, RowGrid(args.rows, args.head_dim / 2), dim3(kRowThreads), 0, stream, args);
}

void RopeCuda(Stream& stream, const RopeArgs& args) {
  const dim3 grid = RowGrid(args.rows, int64_t{args.heads} * args.head_dim / 2);
  DECANT_LAUNCH(RotateRows, grid, dim3(kRowThreads), 0, stream, args);
}

void UnrotateKeysCuda(Stream& stream, const UnrotateKeysArgs& args) {
  const dim3 grid = RowGrid(args.tokens, int64_t{args.heads} * args.head_dim / 2);
  if (args.run_type == RunType::kBf16) {
    DECANT_LAUNCH((UnrotateRows<Bf16>), grid, dim3(kRowThreads), 0, stream, args);
  } else {
    DECANT_LAUNCH((UnrotateRows<float>), grid, dim3(kRowThreads), 0, stream, args);
  }
}

}  // namespace decant
