// Keys that were stored before rope, rotated to the positions at which they are read.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_ROTATED_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_ROTATED_KEYS_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_ROTATED_KEYS_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_ROTATED_KEYS_INL_H_
#endif

#include <algorithm>

#include "common/compress/arith/read_position.h"
#include "gpu/kernels/attention/decode_tile-inl.h"
#include "gpu/kernels/attention/range_tiles.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

// What does not change within a tier: where each element of a decoded vector stands, and what makes it its code.
struct KeyRotation {
  void Arrange(Element element, const AttentionRange& range) {
    const int32_t head_dim = range.arena->geometry.head_dim;
    order = TileOrder(element, head_dim);
    for (int32_t i = 0; i < head_dim; ++i) {
      place[i] = order.Place(i);
      factor[i] = order.Factor(i);
    }
    sink_shift = SinkShift(*range.rows, *range.head);
  }

  TileOrder order = TileOrder(Element::kF32, 0);
  int32_t sink_shift = 0;
  alignas(64) int32_t place[kRowFloats];
  alignas(64) float factor[kRowFloats];
  alignas(64) float planar[kTileTokens * kRowFloats + 32];  // the tile before it is put in order
};

// out [head_dim] = the vector whose codes or floats stand in `planar`, rotated by one row of angles.
inline void RotateKey(const KeyRotation& rotation, const float* HWY_RESTRICT planar, float scale, float zero,
                      const float* HWY_RESTRICT angles, int32_t head_dim, float* HWY_RESTRICT out) {
  const DF d;
  const hn::RebindToSigned<DF> di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const int32_t half = head_dim / 2;
  const auto element = [&](int32_t i) HWY_ATTR {
    const VF code =
        hn::Mul(hn::GatherIndex(d, planar, hn::LoadU(di, rotation.place + i)), hn::LoadU(d, rotation.factor + i));
    return hn::Add(hn::Mul(code, hn::Set(d, scale)), hn::Set(d, zero));
  };
  int32_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const VF a = element(i);
    const VF b = element(half + i);
    const VF c = hn::LoadU(d, angles + i);
    const VF s = hn::LoadU(d, angles + half + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), d, out + i);
    hn::StoreU(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d, out + half + i);
  }
  for (; i < half; ++i) {
    const float a = planar[rotation.place[i]] * rotation.factor[i] * scale + zero;
    const float b = planar[rotation.place[half + i]] * rotation.factor[half + i] * scale + zero;
    out[i] = a * angles[i] - b * angles[half + i];
    out[half + i] = b * angles[i] + a * angles[half + i];
  }
}

// work.tile = the keys of a tile in their own order, rotated, rows `stride` floats apart. `token` is the place of the
// tile's first token in the row, which is its position where pages store none: nothing was ever dropped there.
void RotateTile(const AttentionRange& range, const Tile& tile, int64_t token, int32_t stride, KeyRotation& rotation,
                Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  const Format format = FormatOf(tile.format);
  const int32_t planar_stride = RowStride(rotation.order);
  const uint8_t* keys = tile.page + tile.layout->keys + tile.first * VectorBytes(format.k, head_dim);
  const uint8_t* meta = tile.page + tile.layout->key_meta + tile.first * MetaBytes(format.k, head_dim);
  DecodeTile(format.k, keys, meta, head_dim, tile.count, planar_stride, rotation.order, rotation.planar);
  if (rotation.order.affine) DecodeMeta(meta, tile.count, work);
  const auto* positions = reinterpret_cast<const int32_t*>(tile.page + tile.layout->positions) + tile.first;
  for (int32_t t = 0; t < tile.count; ++t) {
    const int32_t own = format.tracked ? positions[t] : static_cast<int32_t>(token) + t;
    const int64_t position = ReadPosition(*range.rows, own, rotation.sink_shift);
    const float scale = rotation.order.affine ? work.scale[t] : 1.0f;
    const float zero = rotation.order.affine ? work.zero[t] : 0.0f;
    RotateKey(rotation, rotation.planar + t * planar_stride, scale, zero, range.angles + position * head_dim, head_dim,
              work.tile + t * stride);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_ROTATED_KEYS_INL_H_
