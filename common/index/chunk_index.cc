// A key commits to all tokens before it, so following keys from token 0 is the walk down a prefix tree: no node needs
// to know its children.
#include "common/index/chunk_index.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/index/keys.h"

namespace decant {
namespace {

// The order of preference among usable variants; greater is better.
using Rank = std::tuple<bool, double, bool, int64_t>;

// A chunk fits when it was computed in the same run as the one before it, or right behind all that is loaded.
bool Fits(const Variant& variant, const PrefixMatch& before, absl::Span<const LoadedChunk> loaded) {
  const Digest previous = before.chunks.empty() ? Digest{} : before.chunks.back().context;
  return variant.context == previous || (!variant.context.IsZero() && variant.context == ContextOf(loaded));
}

Rank RankOf(const Variant& variant, const PrefixWant& want, bool fits) {
  return {variant.profile == want.form, variant.quality, fits, -variant.bytes};
}

// Empty when usable.
std::string WhyUnusable(const Variant& variant, const PrefixWant& want, int64_t first_token) {
  if (variant.model != want.model) return "it is of another model";
  if (variant.first_token != first_token || variant.tokens != want.chunk_tokens) {
    return absl::StrCat("it holds tokens ", variant.first_token, "+", variant.tokens, ", wanted ", first_token, "+",
                        want.chunk_tokens);
  }
  if (IsTainted(variant.provenance)) return absl::StrCat(variant.profile_name, " of it is tainted");
  if (want.floor >= 1 && !variant.exact()) return absl::StrCat(variant.profile_name, " of it is not exact");
  if (want.floor > 0 && !variant.exact() && variant.quality < want.floor) {
    return absl::StrCat("quality ", variant.quality, " of ", variant.profile_name, " is below floor ", want.floor);
  }
  return "";
}

bool Takes(const Digest& form, const Variant& variant, bool behind_exact) {
  return variant.exact() || (variant.profile == form && !behind_exact);
}

// Whether `variant` makes everything behind it be encoded anew.
bool IsTakenAsExact(const Digest& form, const Variant& variant) { return variant.exact() && variant.profile != form; }

}  // namespace

size_t TakeableChunks(absl::Span<const Variant> prefix, const Digest& form) {
  bool behind_exact = false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    if (!Takes(form, prefix[i], behind_exact)) return i;
    behind_exact = behind_exact || IsTakenAsExact(form, prefix[i]);
  }
  return prefix.size();
}

bool ChunkIndex::Insert(Variant variant) {
  std::vector<Variant>& variants = keys_[variant.key];
  const auto same = [&](const Variant& other) {
    return other.profile == variant.profile && other.context == variant.context;
  };
  if (std::any_of(variants.begin(), variants.end(), same)) return false;
  variants.push_back(std::move(variant));
  ++variants_;
  return true;
}

bool ChunkIndex::Erase(const Digest& key, uint64_t entry) {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return false;
  std::vector<Variant>& variants = found->second;
  const auto it =
      std::find_if(variants.begin(), variants.end(), [entry](const Variant& v) { return v.entry == entry; });
  if (it == variants.end()) return false;
  variants.erase(it);
  --variants_;
  if (variants.empty()) keys_.erase(found);
  return true;
}

absl::Span<const Variant> ChunkIndex::Find(const Digest& key) const {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return {};
  return found->second;
}

const Variant* ChunkIndex::Find(const Digest& key, const Digest& variant) const {
  for (const Variant& candidate : Find(key)) {
    if (VariantDigest(candidate.profile, candidate.context) == variant) return &candidate;
  }
  return nullptr;
}

PrefixMatch ChunkIndex::MatchPrefix(absl::Span<const Digest> keys, const PrefixWant& want) const {
  PrefixMatch match;
  std::vector<LoadedChunk> loaded;
  bool behind_exact = false;
  const auto limit =
      static_cast<size_t>(ReusableChunks(want.prompt_tokens - want.least_computed + 1, want.chunk_tokens));
  for (size_t i = 0; i < std::min(keys.size(), limit); ++i) {
    const int64_t first_token = static_cast<int64_t>(i) * want.chunk_tokens;
    const absl::Span<const Variant> variants = Find(keys[i]);
    const Variant* best = nullptr;
    Rank best_rank;
    std::string why = "it is not stored";
    for (const Variant& variant : variants) {
      std::string unusable = WhyUnusable(variant, want, first_token);
      if (!unusable.empty()) {
        why = std::move(unusable);
        continue;
      }
      if (!Takes(want.form, variant, behind_exact)) {
        why = absl::StrCat("it is stored as ", variant.profile_name, ", which the profile cannot take",
                           behind_exact ? " behind exact chunks" : "");
        continue;
      }
      const Rank rank = RankOf(variant, want, variants.size() > 1 && Fits(variant, match, loaded));
      if (best == nullptr || best_rank < rank) {
        best = &variant;
        best_rank = rank;
      }
    }
    if (best == nullptr) {
      match.miss_reason = absl::StrCat("chunk ", i, " (from token ", first_token, "): ", why);
      break;
    }
    loaded.push_back(LoadedChunk{best->key, VariantDigest(best->profile, best->context), best->exact()});
    behind_exact = behind_exact || IsTakenAsExact(want.form, *best);
    match.chunks.push_back(*best);
  }
  if (match.chunks.size() == limit && limit < keys.size() && want.least_computed > 1) {
    match.miss_reason =
        absl::StrCat("the last ", want.least_computed, " tokens are computed: the profile chooses by them");
  }
  return match;
}

}  // namespace decant
