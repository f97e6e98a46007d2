#include "load_tests/traffic/pool_replay.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/kv/frame.h"

namespace decant {
namespace {

constexpr size_t kBatch = 64;  // steps of the ladder at once

const Geometry kGeometry{30, 9, 3, 64};
const Digest kModel = Sha256("replayed model");

class PoolReplay {
 public:
  PoolReplay(const MooncakeTrace& trace, const ReplayOptions& options)
      : trace_(trace), options_(options), tier_(options.capacity_bytes, [this] { return MakePolicy(); }) {
    for (uint32_t block = 0; block < trace.blocks; ++block) keys_.push_back(Sha256(absl::StrCat("block ", block)));
    tier_.policy(TenantTable::kDefaultTenant);
  }

  ReplayResult Run() {
    for (const TraceRequest& request : trace_.requests) Serve(request);
    DECANT_CHECK(tier_.bytes() == tier_.SumBytes());
    result_.references = trace_.references;
    return result_;
  }

 private:
  std::unique_ptr<EvictionPolicy> MakePolicy() {
    if (options_.policy == ReplayOptions::Policy::kS3Fifo) return MakeEviction(EvictionKind::kS3Fifo);
    if (options_.policy == ReplayOptions::Policy::kLru) return MakeEviction(EvictionKind::kLru);
    auto ladder = std::make_unique<Ladder>();
    ladder_ = ladder.get();
    std::vector<Rung> rungs;
    for (const StoredForm& form : options_.forms) {
      const double share = static_cast<double>(form.charge) / static_cast<double>(options_.forms[0].charge);
      rungs.push_back(Rung{form.profile, form.name, form.quality, share});
    }
    rungs = RungsOf(std::move(rungs));
    DECANT_CHECK(rungs.size() == options_.forms.size());
    ladder_->AddScale(std::move(rungs));
    return ladder;
  }

  void Serve(const TraceRequest& request) {
    const double floor = options_.floor ? options_.floor(request) : 0;
    std::vector<Digest> keys;
    for (const uint32_t block : request.blocks) keys.push_back(keys_[block]);
    PrefixWant want;
    want.model = kModel;
    // The oracle counts every block, so one more token is left to compute behind the last.
    want.prompt_tokens = static_cast<int64_t>(keys.size()) * kTraceBlockTokens + 1;
    want.chunk_tokens = kTraceBlockTokens;
    want.floor = floor;
    const PrefixMatch match = index_.MatchPrefix(keys, want);
    result_.hits += static_cast<int64_t>(match.chunks.size());
    const uint32_t prefix_uses = match.chunks.empty() ? 0 : tier_.UsesOf(index_.record(match.chunks.back()).entry);

    EntryUse use;
    use.floor = floor;
    use.operation = ++operation_;
    std::vector<size_t> missing;
    for (size_t i = 0; i < keys.size(); ++i) {
      use.ends = i + 1 == keys.size();
      if (options_.block_by_block) use.operation = ++operation_;
      if (UseStored(keys[i], use)) continue;
      if (options_.block_by_block) {
        Publish(keys[i], i, prefix_uses, use);
      } else {
        missing.push_back(i);
      }
    }
    for (const size_t i : missing) {
      use.ends = i + 1 == keys.size();
      Publish(keys[i], i, prefix_uses, use);
    }
    result_.peak_bytes = std::max(result_.peak_bytes, tier_.bytes());
  }

  // False when the request has to publish the block: it is not stored, or in a form below the floor that a better one
  // now replaces. (With one form there is none better.)
  bool UseStored(const Digest& key, const EntryUse& use) {
    const std::vector<VariantId> variants = index_.Find(key);
    if (variants.empty()) return false;
    const VariantRecord& record = index_.record(variants[0]);
    const bool refused = !record.exact() && record.quality < use.floor;
    if (!refused || options_.forms.size() == 1) {
      tier_.Use(record.entry, use);
      return true;
    }
    Forget(key, record.entry);
    return false;
  }

  void Publish(const Digest& key, size_t block, uint32_t prefix_uses, const EntryUse& use) {
    const StoredForm& form = options_.forms[0];
    EvictionFacts facts;
    facts.key = key.Prefix64();
    facts.depth = static_cast<int32_t>(block) * kTraceBlockTokens;
    facts.prefix_uses = prefix_uses;
    facts.use = use;
    if (ladder_ != nullptr) Relieve(form.charge, facts);
    const absl::StatusOr<uint64_t> entry = tier_.Stage(kGeometry.layers, facts);
    if (!entry.ok()) return;
    for (const LayerBlob& frame : form.frames) {
      if (!tier_.Add(*entry, frame).ok()) {
        tier_.Drop(*entry);
        return;
      }
    }
    DECANT_CHECK(tier_.Commit(*entry).ok());
    if (ladder_ != nullptr) ladder_->Describe(*entry, 0, 0, tier_.ChargeOf(*entry));
    Variant variant;
    variant.entry = *entry;
    variant.key = key;
    variant.model = kModel;
    variant.profile = form.profile;
    variant.profile_name = form.name;
    variant.first_token = facts.depth;
    variant.tokens = kTraceBlockTokens;
    variant.provenance = form.quality >= 1 ? Provenance::kExact : Provenance::kQuantised;
    variant.quality = form.quality;
    variant.bytes = tier_.FrameBytes(*entry);
    DECANT_CHECK(index_.Insert(variant));
    key_of_[*entry] = key;
    for (const ForgottenEntry& gone : tier_.TakeForgotten()) {
      ++result_.evicted;
      index_.Erase(key_of_[gone.entry], gone.entry);
      key_of_.erase(gone.entry);
    }
  }

  void Forget(const Digest& key, uint64_t entry) {
    index_.Erase(key, entry);
    tier_.Drop(entry);
    key_of_.erase(entry);
  }

  // What the pool's executor does: plan, re-encode, tell.
  void Relieve(int64_t bytes, const EvictionFacts& newcomer) {
    const auto admits = [&](uint64_t entry) {
      return tier_.MayDisplace(entry, newcomer.depth, newcomer.use.operation);
    };
    for (int64_t missing = tier_.bytes() + bytes - tier_.capacity_bytes(); missing > 0;
         missing = tier_.bytes() + bytes - tier_.capacity_bytes()) {
      const std::vector<LadderStep> steps = ladder_->Plan(missing, kBatch, admits);
      if (steps.empty()) return;
      for (const LadderStep& step : steps) {
        const Digest key = key_of_[step.entry];
        if (step.to == LadderStep::kEvict) {
          Forget(key, step.entry);
          ++result_.evicted;
          continue;
        }
        const StoredForm& form = options_.forms[step.to];
        const absl::Status replaced = tier_.Replace(step.entry, form.frames);
        DECANT_CHECK_MSG(replaced.ok(), "%s", std::string(replaced.message()).c_str());
        const int64_t frames = tier_.FrameBytes(step.entry);
        DECANT_CHECK(index_.Reencode(key, step.entry, form.profile, form.name, form.quality, frames));
        ladder_->Moved(step.entry, step.to, tier_.ChargeOf(step.entry));
        ++result_.reencoded;
      }
    }
  }

  const MooncakeTrace& trace_;
  const ReplayOptions& options_;
  Ladder* ladder_ = nullptr;
  HostTier tier_;
  ChunkIndex index_;
  std::vector<Digest> keys_;
  absl::flat_hash_map<uint64_t, Digest> key_of_;
  uint64_t operation_ = 0;
  ReplayResult result_;
};

}  // namespace

StoredForm FormOf(const Catalogue& catalogue, const std::string& name, double quality) {
  const auto profile = catalogue.Find(name);
  DECANT_CHECK_MSG(profile.ok(), "%s", std::string(profile.status().message()).c_str());
  const auto recipe = Compile(*profile, kGeometry, RunType::kBf16);
  DECANT_CHECK_MSG(recipe.ok(), "%s", std::string(recipe.status().message()).c_str());
  StoredForm form;
  form.profile = recipe->digest;
  form.name = name;
  form.quality = quality;
  form.charge = HostTier::kEntryOverheadBytes;
  FrameHeader header;
  header.formats[kHigh] = recipe->high;
  header.provenance = recipe->exact() ? Provenance::kExact : Provenance::kQuantised;
  header.heads = kGeometry.kv_heads;
  header.head_dim = kGeometry.head_dim;
  header.span = kTraceBlockTokens;
  header.model_fingerprint = kModel.Prefix64();
  header.profile = recipe->digest;
  std::vector<int32_t> counts(static_cast<size_t>(header.heads * kFrameTiers));
  for (int32_t head = 0; head < header.heads; ++head) counts[static_cast<size_t>(head * kFrameTiers)] = header.span;
  for (int32_t layer = 0; layer < kGeometry.layers; ++layer) {
    header.first_layer = layer;
    const FrameLayout layout = LayOutFrame(header, counts);
    std::string frame(static_cast<size_t>(layout.bytes), '\0');
    SealFrame(header, layout, reinterpret_cast<uint8_t*>(frame.data()));
    form.frames.push_back(LayerBlob{layer, 1, Blob::CopyOf(frame)});
    form.charge += layout.bytes + HostTier::kBlobOverheadBytes;
  }
  return form;
}

ReplayResult Replay(const MooncakeTrace& trace, const ReplayOptions& options) {
  return PoolReplay(trace, options).Run();
}

}  // namespace decant
