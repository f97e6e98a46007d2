#include "tests/gpu/kernels/attention/paged_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "common/base/check.h"
#include "common/base/half.h"
#include "gpu/kernels/attention/block_choice.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "gpu/kernels/pages/key_statistics.h"

namespace decant {
namespace {

constexpr int32_t kPadding = 24;  // floats between rows of queries and outputs

template <typename T>
T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Element i of token t of a segment pair, as the format defines it.
double Decode(Element element, const uint8_t* vectors, const uint8_t* meta, int32_t head_dim, int32_t t, int32_t i) {
  const uint8_t* vector = vectors + t * VectorBytes(element, head_dim);
  if (element == Element::kF32) return Load<float>(vector + 4 * i);
  if (element == Element::kBf16) return ToFloat(Load<Bf16>(vector + 2 * i));
  const int32_t bits = ElementBits(element);
  const int32_t code = vector[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1);
  const int32_t pairs = static_cast<int32_t>(MetaBytes(element, head_dim) / 4);
  const int32_t pair = IsChannel(element) ? t / 32 * head_dim + i : IsGrouped(element) ? t * pairs + i / 32 : t;
  const double scale = ToFloat(Load<Fp16>(meta + 4 * pair));
  const double zero = ToFloat(Load<Fp16>(meta + 4 * pair + 2));
  return scale * code + zero;
}

}  // namespace

PagedBatch::PagedBatch(Device& device, const Geometry& geometry, int64_t page_bytes,
                       const std::vector<TestSequence>& sequences, uint32_t seed)
    : device_(device), stream_(device.NewStream()), random_(seed) {
  arena_.geometry = geometry;
  arena_.page_bytes = page_bytes;
  for (int f = 1; f < kFormatCount; ++f) {
    arena_.layouts[f] = FitLayout(static_cast<FormatId>(f), geometry.head_dim, page_bytes);
  }
  const auto pages_of = [&](const TestSequence& sequence, size_t head, int tier) {
    const int32_t tokens = sequence.tokens[head % sequence.tokens.size()][static_cast<size_t>(tier)];
    if (tokens == 0) return 0;
    const int32_t per_page = tokens_per_page(sequence.formats[static_cast<size_t>(tier)]);
    DECANT_CHECK_MSG(per_page > 0, "page of %lld bytes holds no token", static_cast<long long>(page_bytes));
    return (tokens + per_page - 1) / per_page;
  };
  // Capacities and ids first, so that ids can be shuffled over the whole arena.
  for (const TestSequence& sequence : sequences) {
    SequenceRows rows;
    rows.policy = sequence.policy;
    rows.window = sequence.window;
    rows.read = sequence.read;
    rows.sinks = sequence.sinks;
    for (int tier = 0; tier < kTierCount; ++tier) rows.key_forms[tier] = sequence.key_forms[static_cast<size_t>(tier)];
    for (int tier = 0; tier < kTierCount; ++tier) rows.formats[tier] = sequence.formats[static_cast<size_t>(tier)];
    std::vector<HeadState> heads(static_cast<size_t>(geometry.kv_heads));
    for (size_t h = 0; h < heads.size(); ++h) {
      int32_t pages = 0;
      for (int tier = 0; tier < kTierCount; ++tier) {
        heads[h].tokens[tier] = sequence.tokens[h % sequence.tokens.size()][static_cast<size_t>(tier)];
        heads[h].pages[tier] = pages_of(sequence, h, tier);
        pages += heads[h].pages[tier];
      }
      arena_.page_count += pages;
      rows.capacity = std::max(rows.capacity, pages + 1);
      longest_ = std::max<int64_t>(longest_, heads[h].tokens[0] + heads[h].tokens[1] + heads[h].tokens[2]);
    }
    rows_.push_back(rows);
    heads_.push_back(heads);
  }
  std::vector<int32_t> ids(static_cast<size_t>(arena_.page_count));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), random_);
  pages_.resize(static_cast<size_t>(arena_.page_count * page_bytes));
  size_t next = 0;
  for (size_t s = 0; s < rows_.size(); ++s) {
    SequenceRows& rows = rows_[s];
    page_ids_.emplace_back(static_cast<size_t>(geometry.kv_heads * rows.capacity), -1);
    for (int32_t h = 0; h < geometry.kv_heads; ++h) {
      const HeadState& head = heads_[s][static_cast<size_t>(h)];
      for (int tier = 0; tier < kTierCount; ++tier) {
        for (int32_t page = 0; page < head.pages[tier]; ++page) {
          const int32_t place = h * rows.capacity + RowPlace(head, rows.capacity, tier, page);
          page_ids_.back()[static_cast<size_t>(place)] = ids[next];
          FillPage(pages_.data() + ids[next++] * page_bytes, rows.formats[tier]);
        }
      }
    }
    rows.heads = heads_[s].data();
    rows.page_ids = page_ids_[s].data();
    lengths_.push_back(sequences[s].length);
    std::vector<float>& balance = balance_.emplace_back(static_cast<size_t>(geometry.kv_heads * geometry.head_dim));
    std::uniform_real_distribution<float> factor(0.25f, 4.0f);
    for (float& b : balance) b = factor(random_);
  }
  for (size_t s = 0; s < rows_.size(); ++s) {
    rows_[s].length = lengths_.data() + s;
    rows_[s].balance = balance_[s].data();
  }
  const int32_t half = geometry.head_dim / 2;
  for (int32_t p = 0; p < kAnglePositions; ++p) {
    for (int32_t i = 0; i < half; ++i)
      angles_.push_back(static_cast<float>(std::cos(p * std::pow(100.0, -1.0 * i / half))));
    for (int32_t i = 0; i < half; ++i)
      angles_.push_back(static_cast<float>(std::sin(p * std::pow(100.0, -1.0 * i / half))));
  }
  const int64_t stride = int64_t{geometry.q_heads} * geometry.head_dim + kPadding;
  q_.resize(rows_.size() * static_cast<size_t>(stride));
  std::normal_distribution<float> normal;
  for (float& x : q_) x = normal(random_);

  const auto upload = [&](const void* data, size_t bytes) {
    buffers_.push_back(device_.Allocate(static_cast<int64_t>(std::max<size_t>(bytes, 1))).value());
    stream_->Copy(buffers_.back().As<void>(), data, static_cast<int64_t>(bytes));
    return buffers_.back().As<uint8_t>();
  };
  device_angles_ = reinterpret_cast<const float*>(upload(angles_.data(), angles_.size() * 4));
  std::vector<SequenceRows> device_rows = rows_;
  for (size_t s = 0; s < rows_.size(); ++s) {
    device_rows[s].heads = reinterpret_cast<HeadState*>(upload(heads_[s].data(), heads_[s].size() * sizeof(HeadState)));
    device_rows[s].page_ids = reinterpret_cast<int32_t*>(upload(page_ids_[s].data(), page_ids_[s].size() * 4));
    device_rows[s].length = reinterpret_cast<int32_t*>(upload(lengths_.data() + s, 4));
    device_rows[s].balance = reinterpret_cast<const float*>(upload(balance_[s].data(), balance_[s].size() * 4));
  }
  device_rows_ = device_.Allocate(static_cast<int64_t>(rows_.size() * sizeof(SequenceRows) + 1)).value();
  stream_->Copy(device_rows_.As<void>(), device_rows.data(), static_cast<int64_t>(rows_.size() * sizeof(SequenceRows)));
  device_pages_ = device_.Allocate(static_cast<int64_t>(pages_.size()) + 1).value();
  Upload();
}

void PagedBatch::Upload() {
  stream_->Copy(device_pages_.As<void>(), pages_.data(), static_cast<int64_t>(pages_.size()));
}

void PagedBatch::FillPage(uint8_t* page, FormatId id) {
  const Format format = FormatOf(id);
  const int32_t head_dim = arena_.geometry.head_dim;
  const PageLayout& layout = arena_.layouts[static_cast<int>(id)];
  std::normal_distribution<float> normal;
  // Whatever no token holds is noise that a wrong index would show: NaN patterns included.
  std::memset(page, 0xff, static_cast<size_t>(arena_.page_bytes));
  const auto fill = [&](Element element, uint8_t* vectors, uint8_t* meta) {
    for (int32_t t = 0; t < layout.tokens; ++t) {
      uint8_t* vector = vectors + t * VectorBytes(element, head_dim);
      if (!IsAffine(element)) {
        for (int32_t i = 0; i < head_dim; ++i) {
          const float x = normal(random_);
          const Bf16 rounded = ToBf16(x);
          if (element == Element::kF32) std::memcpy(vector + 4 * i, &x, 4);
          if (element == Element::kBf16) std::memcpy(vector + 2 * i, &rounded, 2);
        }
        continue;
      }
      for (int64_t i = 0; i < VectorBytes(element, head_dim); ++i) vector[i] = static_cast<uint8_t>(random_());
    }
    const float steps = IsAffine(element) ? static_cast<float>((1 << ElementBits(element)) - 1) : 1;
    for (int64_t i = 0; i < MetaSegmentBytes(element, head_dim, layout.tokens); i += 4) {
      const Fp16 pair[2] = {ToFp16((1.0f + std::abs(normal(random_))) / steps), ToFp16(normal(random_) - 1.0f)};
      std::memcpy(meta + i, pair, 4);
    }
  };
  fill(format.k, page + layout.keys, page + layout.key_meta);
  fill(format.v, page + layout.values, page + layout.value_meta);
  // The last block may be ragged; of what stands behind its last token nothing may depend, so it counts here.
  if (format.statistics) {
    WriteKeyStatistics(page + layout.keys, layout.tokens, head_dim, format.k, page + layout.statistics);
  }
  if (!format.tracked) return;
  for (int32_t t = 0; t < layout.tokens; ++t) {
    const float score = std::abs(normal(random_));
    std::memcpy(page + layout.scores + 4 * t, &score, 4);
    std::memcpy(page + layout.positions + 4 * t, &t, 4);
  }
}

uint8_t* PagedBatch::PageOf(std::vector<uint8_t>& pages, const SequenceRows& rows, int32_t kv_head, int32_t tier,
                            int32_t page) {
  const int32_t place = RowPlace(rows.heads[kv_head], rows.capacity, tier, page);
  return pages.data() + rows.page_ids[kv_head * rows.capacity + place] * arena_.page_bytes;
}

float* PagedBatch::Score(int32_t sequence, int32_t kv_head, int32_t tier, int32_t token) {
  const SequenceRows& rows = rows_[static_cast<size_t>(sequence)];
  const PageLayout& layout = arena_.layouts[static_cast<int>(rows.formats[tier])];
  uint8_t* page = PageOf(pages_, rows, kv_head, tier, token / layout.tokens);
  return reinterpret_cast<float*>(page + layout.scores) + token % layout.tokens;
}

PagedBatch::BlockTruth PagedBatch::Block(int32_t sequence, int32_t kv_head, int32_t block) {
  const SequenceRows& rows = rows_[static_cast<size_t>(sequence)];
  const Geometry& geometry = arena_.geometry;
  const int32_t head_dim = geometry.head_dim;
  const PageLayout& layout = arena_.layouts[static_cast<int>(rows.formats[kHigh])];
  const uint8_t* page = PageOf(pages_, rows, kv_head, kHigh, block * 16 / layout.tokens);
  const int32_t first = block * 16 % layout.tokens;
  const uint8_t* entry = page + layout.statistics + first / 16 * 4 * head_dim;
  const int64_t stride = int64_t{geometry.q_heads} * head_dim + kPadding;
  BlockTruth truth{-INFINITY, -INFINITY};
  for (int32_t g = 0; g < geometry.group(); ++g) {
    const float* q = q_.data() + sequence * stride + (kv_head * geometry.group() + g) * head_dim;
    double bound = 0;
    for (int32_t i = 0; i < head_dim; ++i) {
      const double low = ToFloat(Load<Bf16>(entry + 2 * i));
      const double high = ToFloat(Load<Bf16>(entry + 2 * (head_dim + i)));
      bound += std::max(q[i] * low, q[i] * high);
    }
    truth.bound = std::max(truth.bound, bound);
    for (int32_t t = 0; t < std::min(16, rows.heads[kv_head].tokens[kHigh] - block * 16); ++t) {
      double product = 0;
      for (int32_t i = 0; i < head_dim; ++i) {
        product += q[i] * Decode(FormatOf(rows.formats[kHigh]).k, page + layout.keys, page + layout.key_meta, head_dim,
                                 first + t, i);
      }
      truth.largest = std::max(truth.largest, product);
    }
  }
  return truth;
}

std::vector<int32_t> PagedBatch::BlocksRead(int32_t sequence, int32_t kv_head) {
  const SequenceRows& rows = rows_[static_cast<size_t>(sequence)];
  const int32_t blocks = (rows.heads[kv_head].tokens[kHigh] + 15) / 16;
  std::vector<int32_t> all(static_cast<size_t>(blocks));
  std::iota(all.begin(), all.end(), 0);
  const int32_t read = std::max(1, rows.read.tokens / 16);
  if (rows.read.tokens == 0 || rows.read.dense_layers > 0 || read >= blocks) return all;
  std::vector<double> bounds;
  for (int32_t block = 0; block < blocks; ++block) bounds.push_back(Block(sequence, kv_head, block).bound);
  bounds.back() = INFINITY;
  std::stable_sort(all.begin(), all.end(), [&](int32_t a, int32_t b) {
    return bounds[static_cast<size_t>(a)] > bounds[static_cast<size_t>(b)];
  });
  all.resize(static_cast<size_t>(read));
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<float> PagedBatch::Bounds(int32_t sequence, int32_t kv_head) {
  const Geometry& geometry = arena_.geometry;
  const SequenceRows& rows = rows_[static_cast<size_t>(sequence)];
  PageArena arena = arena_;
  arena.pages = pages_.data();
  AttentionRange range;
  range.arena = &arena;
  range.rows = &rows;
  range.head = rows.heads + kv_head;
  range.page_ids = rows.page_ids + int64_t{kv_head} * rows.capacity;
  range.q = q_.data() + sequence * (int64_t{geometry.q_heads} * geometry.head_dim + kPadding) +
            int64_t{kv_head} * geometry.group() * geometry.head_dim;
  range.group = geometry.group();
  std::vector<float> bounds(static_cast<size_t>(BlocksOf(range.head->tokens[kHigh])));
  BlockBounds(range, 0, static_cast<int32_t>(bounds.size()), bounds.data());
  return bounds;
}

std::vector<float> PagedBatch::Attend(const Operation& operation) {
  const Geometry& geometry = arena_.geometry;
  const int64_t width = int64_t{geometry.q_heads} * geometry.head_dim;
  const int64_t stride = width + kPadding;
  const auto sequences = static_cast<int64_t>(rows_.size());
  Buffer q = device_.Allocate(sequences * stride * 4 + 1).value();
  Buffer out = device_.Allocate(sequences * stride * 4 + 1).value();
  const int64_t scratch_bytes =
      DecodeAttentionScratchBytes(device_, geometry, static_cast<int32_t>(sequences), longest_);
  Buffer scratch = device_.Allocate(scratch_bytes).value();
  stream_->Copy(q.As<void>(), q_.data(), sequences * stride * 4);
  stream_->Fill(out.As<void>(), 0xff, sequences * stride * 4);
  DecodeAttentionArgs args;
  args.arena = arena_;
  args.arena.pages = device_pages_.As<uint8_t>();
  args.rows = device_rows_.As<SequenceRows>();
  args.sequences = static_cast<int32_t>(sequences);
  args.q = q.As<float>();
  args.q_stride = stride;
  args.angles = device_angles_;
  args.scale = 1.0f / std::sqrt(static_cast<float>(geometry.head_dim));
  args.out = out.As<float>();
  args.out_stride = stride;
  args.scratch = scratch.As<float>();
  args.scratch_tokens = longest_;
  const Buffer read = device_.Allocate(8 * sequences + 1).value();
  stream_->Fill(read.As<void>(), 0, 8 * sequences);
  args.bytes_read = read.As<int64_t>();
  operation(*stream_, args);
  bytes_read_.resize(static_cast<size_t>(sequences));
  stream_->Copy(bytes_read_.data(), read.As<void>(), 8 * sequences);
  std::vector<float> padded(static_cast<size_t>(sequences * stride));
  stream_->Copy(padded.data(), out.As<void>(), sequences * stride * 4);
  stream_->Copy(pages_.data(), device_pages_.As<void>(), static_cast<int64_t>(pages_.size()));
  std::vector<float> result;
  for (int64_t s = 0; s < sequences; ++s) {
    result.insert(result.end(), padded.begin() + s * stride, padded.begin() + s * stride + width);
  }
  return result;
}

double PagedBatch::Product(const SequenceRows& rows, int32_t kv_head, int32_t tier, const uint8_t* page, int32_t index,
                           int32_t place, const float* q) const {
  const FormatId id = rows.formats[tier];
  const KeyForm& form = rows.key_forms[tier];
  const PageLayout& layout = arena_.layouts[static_cast<int>(id)];
  const int32_t head_dim = arena_.geometry.head_dim;
  std::vector<double> stored(static_cast<size_t>(head_dim));
  for (int32_t i = 0; i < head_dim; ++i) {
    stored[static_cast<size_t>(i)] =
        Decode(FormatOf(id).k, page + layout.keys, page + layout.key_meta, head_dim, index, i);
  }
  std::vector<double> key = stored;
  const int32_t order = 1 << form.hadamard;
  for (int32_t i = 0; order > 1 && i < head_dim; ++i) {
    // Row i % order of the Sylvester matrix: the sign is the parity of the common bits.
    double sum = 0;
    for (int32_t j = i / order * order; j < i / order * order + order; ++j) {
      const bool odd = __builtin_popcount(static_cast<unsigned>(i % order & j % order)) % 2 != 0;
      sum += odd ? -stored[static_cast<size_t>(j)] : stored[static_cast<size_t>(j)];
    }
    key[static_cast<size_t>(i)] = sum / std::sqrt(order);
  }
  for (int32_t i = 0; form.balanced != 0 && i < head_dim; ++i) {
    key[static_cast<size_t>(i)] /= rows.balance[kv_head * head_dim + i];
  }
  if (form.rope == 0) {
    int32_t position = FormatOf(id).tracked ? Load<int32_t>(page + layout.positions + 4 * index) : place;
    const HeadState& head = rows.heads[kv_head];
    const int32_t held = head.tokens[kHigh] + head.tokens[kLow] + head.tokens[kFixed];
    const bool shifts = rows.policy == OnlinePolicy::kSinksAndRecent && position < rows.sinks;
    if (shifts) position += *rows.length + 1 - held;
    const int32_t half = head_dim / 2;
    const float* angles = angles_.data() + int64_t{position} * head_dim;
    for (int32_t i = 0; i < half; ++i) {
      const double a = key[static_cast<size_t>(i)];
      const double b = key[static_cast<size_t>(half + i)];
      key[static_cast<size_t>(i)] = a * angles[i] - b * angles[half + i];
      key[static_cast<size_t>(half + i)] = b * angles[i] + a * angles[half + i];
    }
  }
  double product = 0;
  for (int32_t i = 0; i < head_dim; ++i) product += q[i] * key[static_cast<size_t>(i)];
  return product;
}

std::vector<float> PagedBatch::Reference() {
  const Geometry& geometry = arena_.geometry;
  const int32_t head_dim = geometry.head_dim;
  const int64_t stride = int64_t{geometry.q_heads} * head_dim + kPadding;
  expected_pages_ = pages_;
  std::vector<float> result;
  for (size_t s = 0; s < rows_.size(); ++s) {
    const SequenceRows& rows = rows_[s];
    for (int32_t kv_head = 0; kv_head < geometry.kv_heads; ++kv_head) {
      // The two halves of a token may lie in different tiers.
      struct Half {
        uint8_t* page = nullptr;
        FormatId format = FormatId::kNone;
        int32_t index = 0;
      };
      struct Token {
        Half key;
        Half value;
        int32_t tier = 0;  // of the key
        double share = 0;  // the largest probability of the group, or the mean
      };
      const bool mean = rows.policy == OnlinePolicy::kHeavyHitter || rows.policy == OnlinePolicy::kDemoteOldest;
      const auto half_at = [&](int32_t tier, int32_t slot) {
        const int32_t per_page = tokens_per_page(rows.formats[tier]);
        return Half{PageOf(expected_pages_, rows, kv_head, tier, slot / per_page), rows.formats[tier], slot % per_page};
      };
      std::vector<Token> tokens;
      const HeadState& head = rows.heads[kv_head];
      if (rows.split()) {
        for (int32_t n = 0; n < head.tokens[kHigh] + head.tokens[kFixed]; ++n) {
          const int32_t key_tier = n < head.tokens[kHigh] ? kHigh : kFixed;
          const int32_t value_tier = n < head.tokens[kLow] ? kLow : kTail;
          tokens.push_back({half_at(key_tier, key_tier == kHigh ? n : n % rows.window),
                            half_at(value_tier, value_tier == kLow ? n : n % rows.window), key_tier});
        }
      } else {
        const std::vector<int32_t> blocks = BlocksRead(static_cast<int32_t>(s), kv_head);
        for (const int32_t tier : {kFixed, kHigh, kLow}) {
          for (int32_t t = 0; t < head.tokens[tier]; ++t) {
            const bool left_out = tier == kHigh && rows.read.tokens > 0 &&
                                  std::find(blocks.begin(), blocks.end(), t / 16) == blocks.end();
            if (!left_out) tokens.push_back({half_at(tier, t), half_at(tier, t), tier});
          }
        }
      }
      for (int32_t g = 0; g < geometry.group(); ++g) {
        const float* q = q_.data() + static_cast<int64_t>(s) * stride + (kv_head * geometry.group() + g) * head_dim;
        std::vector<double> weights;
        for (size_t t = 0; t < tokens.size(); ++t) {
          const double logit = Product(rows, kv_head, tokens[t].tier, tokens[t].key.page, tokens[t].key.index,
                                       static_cast<int32_t>(t), q);
          weights.push_back(logit / std::sqrt(head_dim));
        }
        const double max = weights.empty() ? 0 : *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& w : weights) sum += w = std::exp(w - max);
        std::vector<double> out(static_cast<size_t>(head_dim));
        for (size_t t = 0; t < tokens.size(); ++t) {
          const Half& value = tokens[t].value;
          const PageLayout& layout = arena_.layouts[static_cast<int>(value.format)];
          const double share = weights[t] / sum;
          tokens[t].share = mean ? tokens[t].share + share / geometry.group() : std::max(tokens[t].share, share);
          for (int32_t i = 0; i < head_dim; ++i) {
            out[static_cast<size_t>(i)] += weights[t] / sum *
                                           Decode(FormatOf(value.format).v, value.page + layout.values,
                                                  value.page + layout.value_meta, head_dim, value.index, i);
          }
        }
        for (const double x : out) result.push_back(static_cast<float>(x));
      }
      const bool by_score = rows.policy == OnlinePolicy::kDiffKvPaper || rows.policy == OnlinePolicy::kDiffKvCode;
      if (!by_score && !mean) continue;
      for (const Token& token : tokens) {
        if (!FormatOf(token.key.format).tracked) continue;
        const PageLayout& layout = arena_.layouts[static_cast<int>(token.key.format)];
        uint8_t* at = token.key.page + layout.scores + 4 * token.key.index;
        const float score = static_cast<float>(Load<float>(at) + token.share);
        std::memcpy(at, &score, 4);
      }
    }
  }
  return result;
}

double PagedBatch::LargestScoreDifference() const {
  double largest = 0;
  std::vector<bool> is_score(pages_.size() / 4);
  for (size_t s = 0; s < rows_.size(); ++s) {
    for (int32_t h = 0; h < arena_.geometry.kv_heads; ++h) {
      const HeadState& head = rows_[s].heads[h];
      for (int tier = 0; tier < kTierCount; ++tier) {
        for (int32_t t = 0; t < head.tokens[tier]; ++t) {
          const FormatId format = rows_[s].formats[tier];
          if (!FormatOf(format).tracked) continue;
          const PageLayout& layout = arena_.layouts[static_cast<int>(format)];
          const int32_t place = RowPlace(head, rows_[s].capacity, tier, t / layout.tokens);
          const int64_t at = rows_[s].page_ids[h * rows_[s].capacity + place] * arena_.page_bytes + layout.scores +
                             4 * (t % layout.tokens);
          is_score[static_cast<size_t>(at / 4)] = true;
          const double difference =
              std::abs(static_cast<double>(Load<float>(pages_.data() + at)) - Load<float>(expected_pages_.data() + at));
          largest = std::max(largest, difference);
        }
      }
    }
  }
  for (size_t i = 0; i < is_score.size(); ++i) {
    if (!is_score[i] && std::memcmp(pages_.data() + 4 * i, expected_pages_.data() + 4 * i, 4) != 0) return INFINITY;
  }
  return largest;
}

}  // namespace decant
