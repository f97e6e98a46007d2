#include "gpu/kernels/nn/product_host.h"

#include <omp.h>

#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "common/base/check.h"
#include "gpu/kernels/nn/packed_layout.h"

namespace decant {
namespace {

using Shape = std::tuple<RunType, int32_t, int32_t, int32_t, bool>;

dnnl::memory::data_type DataType(RunType type) {
  return type == RunType::kBf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::matmul::primitive_desc Describe(const dnnl::engine& engine, const Shape& shape) {
  using Tag = dnnl::memory::format_tag;
  const auto [type, rows, columns, depth, accumulate] = shape;
  const dnnl::memory::desc a({rows, depth}, DataType(type), Tag::ab);
  const dnnl::memory::desc b({depth, columns}, DataType(type),
                             type == RunType::kBf16 ? Tag::BA16a64b2a : Tag::BA16a64b);
  const dnnl::memory::desc c({rows, columns}, dnnl::memory::data_type::f32, Tag::ab);
  dnnl::primitive_attr attributes;
  // The library's own scratchpad belongs to the thread that compiled the kernel.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  return dnnl::matmul::primitive_desc({a, b, c}, attributes, engine);
}

struct Kernel {
  dnnl::matmul primitive;
  dnnl::memory a;
  dnnl::memory b;
  dnnl::memory c;
  std::vector<char> scratchpad_bytes;
  dnnl::memory scratchpad;
};

// One thread's kernels. The compiled code itself is shared through oneDNN's primitive cache.
class Kernels {
 public:
  Kernels() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    // Every thread of ours would otherwise bring a team of OpenMP threads along, which spin.
    omp_set_num_threads(1);
  }

  void Run(const Product& product) {
    Kernel& kernel = Find(Shape{product.type, product.rows, product.columns, product.depth, product.accumulate});
    kernel.a.set_data_handle(const_cast<void*>(product.a));
    kernel.b.set_data_handle(const_cast<void*>(product.b));
    kernel.c.set_data_handle(product.c);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, kernel.a.get()},
                                         {DNNL_ARG_WEIGHTS, kernel.b.get()},
                                         {DNNL_ARG_DST, kernel.c.get()},
                                         {DNNL_ARG_SCRATCHPAD, kernel.scratchpad.get()}};
    DECANT_CHECK(dnnl_primitive_execute(kernel.primitive.get(), stream_.get(), 4, arguments) == dnnl_success);
  }

 private:
  Kernel& Find(const Shape& shape) {
    std::unique_ptr<Kernel>& kernel = kernels_[shape];
    if (kernel != nullptr) return *kernel;
    const dnnl::matmul::primitive_desc description = Describe(engine_, shape);
    kernel = std::make_unique<Kernel>();
    kernel->primitive = dnnl::matmul(description);
    kernel->a = dnnl::memory(description.src_desc(), engine_, nullptr);
    kernel->b = dnnl::memory(description.weights_desc(), engine_, nullptr);
    kernel->c = dnnl::memory(description.dst_desc(), engine_, nullptr);
    kernel->scratchpad_bytes.resize(description.scratchpad_desc().get_size() + 64);
    kernel->scratchpad = dnnl::memory(description.scratchpad_desc(), engine_, kernel->scratchpad_bytes.data());
    return *kernel;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Shape, std::unique_ptr<Kernel>> kernels_;
};

// What oneDNN has for the packed layout on this processor.
enum class Offer { kNothing, kVectors, kTiles };

Offer ProbeOffer(RunType type) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  Offer offer = Offer::kNothing;
  try {
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const std::string name = Describe(engine, Shape{type, kRowTile, 128, 64, false}).impl_info_str();
    if (name.rfind("brg", 0) == 0) {
      offer = name.find("amx") == std::string::npos ? Offer::kVectors : Offer::kTiles;
    }
  } catch (const dnnl::error&) {
    // oneDNN does not know the type on this processor.
  }
  omp_set_num_threads(threads);
  return offer;
}

Offer OfferFor(RunType type) {
  static const Offer f32 = ProbeOffer(RunType::kF32);
  static const Offer bf16 = ProbeOffer(RunType::kBf16);
  return type == RunType::kBf16 ? bf16 : f32;
}

// Kernels of one family add in the same order, so a product never mixes families over its rows.
bool TakesBf16Dot(const Product& product) {
  return product.rows <= 2 && product.type == RunType::kBf16 && OfferFor(RunType::kBf16) == Offer::kVectors &&
         HasBf16Dot();
}

// With fewer rows oneDNN leaves the tiles for vectors, which add in another order.
constexpr int32_t kLeastTileRows = 8;

bool NeedsMoreRows(const Product& product) {
  return product.rows < kLeastTileRows && OfferFor(product.type) == Offer::kTiles;
}

bool TakesPortable(const Product& product) {
  const Offer offer = OfferFor(product.type);
  return offer == Offer::kNothing || (product.rows == 1 && product.type == RunType::kF32);
}

// The product among rows of zeros.
void RunAmongZeros(const Product& product, Kernels& kernels) {
  thread_local std::vector<char> rows;
  thread_local std::vector<float> sums;
  const auto columns = static_cast<size_t>(product.columns);
  const size_t row_bytes = static_cast<size_t>(product.depth) * static_cast<size_t>(RunTypeBytes(product.type));
  const size_t filled = static_cast<size_t>(product.rows) * row_bytes;
  rows.resize(static_cast<size_t>(kLeastTileRows) * row_bytes);
  std::memcpy(rows.data(), product.a, filled);
  std::memset(rows.data() + filled, 0, rows.size() - filled);
  sums.resize(static_cast<size_t>(kLeastTileRows) * columns);
  const size_t sum_bytes = static_cast<size_t>(product.rows) * columns * sizeof(float);
  if (product.accumulate) std::memcpy(sums.data(), product.c, sum_bytes);
  Product whole = product;
  whole.rows = kLeastTileRows;
  whole.a = rows.data();
  whole.c = sums.data();
  kernels.Run(whole);
  std::memcpy(product.c, sums.data(), sum_bytes);
}

}  // namespace

bool ProductAllocates(RunType type, int32_t rows) {
  const Product product{type, rows};
  return !TakesBf16Dot(product) && !TakesPortable(product);
}

bool HasFastProduct(RunType type) { return OfferFor(type) != Offer::kNothing; }

void RunProduct(const Product& product) {
  if (product.rows == 0 || product.columns == 0) return;
  // With one or two rows memory decides: what prefetches is faster than oneDNN.
  if (TakesBf16Dot(product)) {
    RunBf16Dot(product);
  } else if (TakesPortable(product)) {
    RunSmallProduct(product);
  } else {
    thread_local Kernels kernels;
    if (NeedsMoreRows(product)) {
      RunAmongZeros(product, kernels);
    } else {
      kernels.Run(product);
    }
  }
}

}  // namespace decant
