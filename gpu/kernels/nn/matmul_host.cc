#include "gpu/kernels/nn/matmul_host.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "common/base/half.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"

namespace decant {
namespace {

void StorePacked(float x, float* to) { *to = x; }
void StorePacked(float x, Bf16* to) { *to = ToBf16(x); }

// One panel from its columns' rows [count, inputs]; the rest of it becomes zero.
template <typename T>
void PackPanel(const PackedMatrix& matrix, const float* rows, int32_t count, T* panel) {
  const int32_t pair = PackedPair(matrix.type);
  const int32_t depth = PackedDepth(matrix.type, matrix.inputs);
  for (int32_t k = 0; k < depth; k += pair) {
    T* line = panel + static_cast<int64_t>(k) * kPanelColumns;
    for (int32_t column = 0; column < kPanelColumns; ++column) {
      for (int32_t i = 0; i < pair; ++i) {
        const bool inside = column < count && k + i < matrix.inputs;
        StorePacked(inside ? rows[static_cast<int64_t>(column) * matrix.inputs + k + i] : 0.0f, line++);
      }
    }
  }
}

// How a product is cut: row tiles times column groups. Many row tiles need no column groups; few rows (decode) get
// their parallelism from the columns. Each output is the same in every cut.
struct Cut {
  int32_t tiles = 0;
  int32_t groups = 1;
  int32_t group_panels = 0;
};

Cut MakeCut(int32_t rows, int32_t panels, int threads) {
  Cut cut;
  cut.tiles = (rows + kRowTile - 1) / kRowTile;
  const int32_t wanted = threads == 1 || cut.tiles >= 4 * threads || (cut.tiles >= threads && cut.tiles % threads == 0)
                             ? 1
                             : (4 * threads + cut.tiles - 1) / cut.tiles;
  cut.group_panels = std::max(1, (panels + wanted - 1) / wanted);
  cut.groups = (panels + cut.group_panels - 1) / cut.group_panels;
  return cut;
}

void AddOrCopyRows(const float* from, int32_t width, int32_t rows, bool add, float* to, int64_t to_stride) {
  for (int32_t r = 0; r < rows; ++r) {
    const float* in = from + static_cast<int64_t>(r) * width;
    float* out = to + r * to_stride;
    if (add) {
      for (int32_t i = 0; i < width; ++i) out[i] += in[i];
    } else {
      std::memcpy(out, in, static_cast<size_t>(width) * sizeof(float));
    }
  }
}

void RunPart(const MatmulArgs& args, const Cut& cut, int32_t tile, int32_t group) {
  const PackedMatrix& matrix = *args.matrix;
  const int32_t first_row = tile * kRowTile;
  const int32_t first_column = group * cut.group_panels * kPanelColumns;
  const int64_t bytes = RunTypeBytes(matrix.type);
  Product product;
  product.type = matrix.type;
  const int32_t rows = std::min(kRowTile, args.rows - first_row);
  product.rows = rows == kRowTile ? rows : TailRows(rows);
  product.columns = std::min(matrix.outputs - first_column, cut.group_panels * kPanelColumns);
  product.depth = matrix.inputs;
  product.a = static_cast<const char*>(args.in) + int64_t{first_row} * matrix.inputs * bytes;
  product.b = matrix.memory.As<char>(int64_t{group} * cut.group_panels *
                                     PackedPanelElements(matrix.type, matrix.inputs) * bytes);
  float* out = args.out + int64_t{first_row} * matrix.outputs + first_column;
  if (product.rows == rows && (rows == 1 || product.columns == matrix.outputs)) {
    product.accumulate = args.accumulate;
    product.c = out;
    RunProduct(product);
    return;
  }
  // Products write dense and whole rows, so a part of the columns or a padded tail takes a detour.
  thread_local std::vector<float> part;
  part.resize(static_cast<size_t>(product.rows) * static_cast<size_t>(product.columns));
  product.c = part.data();
  RunProduct(product);
  AddOrCopyRows(part.data(), product.columns, rows, args.accumulate, out, matrix.outputs);
}

}  // namespace

void PackMatrixHost(Stream& stream, PackedMatrix& matrix, const ReadRows& read) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const int64_t panel_elements = PackedPanelElements(matrix.type, matrix.inputs);
  device.ParallelFor(PackedPanels(matrix.outputs), [&](int64_t panel, int) {
    const int32_t first = static_cast<int32_t>(panel) * kPanelColumns;
    const int32_t count = std::min(kPanelColumns, matrix.outputs - first);
    std::vector<float> rows(static_cast<size_t>(count) * static_cast<size_t>(matrix.inputs));
    read(first, count, rows.data());
    if (matrix.type == RunType::kBf16) {
      PackPanel(matrix, rows.data(), count, matrix.memory.As<Bf16>() + panel * panel_elements);
    } else {
      PackPanel(matrix, rows.data(), count, matrix.memory.As<float>() + panel * panel_elements);
    }
  });
}

void MatmulHost(Stream& stream, const MatmulArgs& args) {
  if (args.rows == 0) return;
  const HostAccess access(stream);
  Device& device = stream.device();
  const Cut cut = MakeCut(args.rows, PackedPanels(args.matrix->outputs), device.threads());
  const auto run = [&](int64_t part, int) {
    RunPart(args, cut, static_cast<int32_t>(part / cut.groups), static_cast<int32_t>(part % cut.groups));
  };
  device.ParallelFor(int64_t{cut.tiles} * cut.groups, std::cref(run));
}

}  // namespace decant
