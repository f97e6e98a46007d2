// The ranges of a profile's numbers, and that each of them is read by some stage.
#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/hadamard.h"
#include "common/compress/capabilities.h"

namespace decant {
namespace {

constexpr int32_t kMostTokens = 65535;

class Numbers {
 public:
  Numbers(const Profile& profile, const Recipe& recipe, const Geometry& geometry)
      : p_(profile), r_(recipe), g_(geometry) {}

  absl::Status Check() const {
    DECANT_RETURN_IF_ERROR(CheckScore());
    DECANT_RETURN_IF_ERROR(CheckThresholds());
    DECANT_RETURN_IF_ERROR(CheckBudget());
    DECANT_RETURN_IF_ERROR(CheckWindow());
    DECANT_RETURN_IF_ERROR(CheckTransform());
    DECANT_RETURN_IF_ERROR(CheckLevels("key_levels", p_.key_levels, &Format::k));
    DECANT_RETURN_IF_ERROR(CheckLevels("value_levels", p_.value_levels, &Format::v));
    DECANT_RETURN_IF_ERROR(CheckHooks());
    return CheckRead();
  }

 private:
  template <typename... Parts>
  absl::Status Wrong(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat("profile '", p_.name, "': ", parts...));
  }

  bool by_threshold() const {
    return r_.allocation == Allocation::kThresholdByPosition || r_.allocation == Allocation::kThresholdByLength;
  }
  bool thresholds() const {
    return by_threshold() || r_.online == OnlinePolicy::kDiffKvPaper || r_.online == OnlinePolicy::kDiffKvCode;
  }
  bool moves() const { return r_.allocation != Allocation::kAllHigh || r_.online != OnlinePolicy::kNone; }
  bool ranks() const { return HasBudget(p_) && r_.allocation != Allocation::kSinksAndRecent; }

  absl::Status CheckScore() const {
    const bool windowed = r_.score == ScoreSource::kLastWindow || p_.propagation_depth > 0;
    if (windowed && p_.score_queries < 1) {
      return Wrong("score_queries ", p_.score_queries, "; score '", p_.score, "' needs at least 1");
    }
    if (r_.score == ScoreSource::kReplay &&
        (p_.replay_first.empty() || p_.replay_later.empty() || p_.replay_chunk < 1)) {
      return Wrong(
          "score 'replay' needs an instruction, replay_first and replay_later, and a replay_chunk of at least 1, not ",
          p_.replay_chunk);
    }
    if (p_.pool != "none" && (p_.pool_width < 1 || p_.pool_width % 2 == 0)) {
      return Wrong("pool_width ", p_.pool_width, "; pool '", p_.pool, "' needs an odd number");
    }
    return absl::OkStatus();
  }

  absl::Status CheckThresholds() const {
    if (!thresholds()) return absl::OkStatus();
    const double high = p_.alpha_high;
    const double low = p_.alpha_low;
    if (!(std::isfinite(r_.alpha_high) && std::isfinite(r_.alpha_low) && low >= 0)) {
      return Wrong("alpha_high ", high, " and alpha_low ", low, " must be finite and not negative");
    }
    if (low > high) return Wrong("alpha_low ", low, " is above alpha_high ", high, "; swap them");
    if (r_.low == FormatId::kNone && low != high) {
      return Wrong("alpha_low ", low, " and alpha_high ", high,
                   " differ, but there is no low format; make them equal or name one");
    }
    return absl::OkStatus();
  }

  absl::Status CheckBudget() const {
    if (!(p_.budget > 0 && p_.budget <= 1)) {
      return Wrong("budget ", p_.budget, "; it is a share of the tokens: above 0 and at most 1");
    }
    if (!(p_.high_share >= 0 && p_.high_share <= 1)) {
      return Wrong("high_share ", p_.high_share, "; it is a share of the kept tokens: from 0 to 1");
    }
    if (r_.allocation == Allocation::kPyramid && !(p_.beta >= 1 && p_.beta <= 1e6)) {
      return Wrong("beta ", p_.beta, "; the top layer gets 1 / beta of the average: from 1 to 1000000");
    }
    if (p_.layer_shares.empty()) return absl::OkStatus();
    const double largest = *std::max_element(p_.layer_shares.begin(), p_.layer_shares.end());
    if (static_cast<int32_t>(p_.layer_shares.size()) != g_.layers || !(largest > 0)) {
      return Wrong("layer_shares has ", p_.layer_shares.size(), " values up to ", largest, "; the model has ",
                   g_.layers, " layers, of which at least one must keep something");
    }
    return absl::OkStatus();
  }

  absl::Status CheckWindow() const {
    if (moves() && p_.window < 1) {
      return Wrong("window ", p_.window, " must be at least 1 where tokens are dropped or moved");
    }
    if (p_.window + p_.sinks > kMostTokens) {
      return Wrong("window ", p_.window, " and sinks ", p_.sinks, " protect more than ", kMostTokens,
                   " tokens together, whatever budget ", p_.budget, " says");
    }
    if (r_.split() && p_.window % kTokenGroup != 0) {
      return Wrong("window ", p_.window, "; online 'freeze' freezes high '", p_.high, "' in groups, so it must be a ",
                   "multiple of ", kTokenGroup);
    }
    return absl::OkStatus();
  }

  absl::Status CheckTransform() const {
    if (p_.hadamard != 0 && (p_.hadamard < 2 || !IsHadamardOrder(p_.hadamard, g_.head_dim))) {
      return Wrong("hadamard ", p_.hadamard, "; its blocks must be a power of two above 1 that divides head_dim ",
                   g_.head_dim);
    }
    if (p_.group_layers == 0) return absl::OkStatus();
    for (const auto& [name, share, rank] : {std::tuple("key_rank", p_.key_rank, r_.low_rank.key_rank),
                                            std::tuple("value_rank", p_.value_rank, r_.low_rank.value_rank)}) {
      if (!(share > 0 && share <= 1) || rank < 1) {
        return Wrong(name, " ", share, " of group_layers ", p_.group_layers, " makes rank ", rank,
                     "; it is a share of the group's width, above 0 and at most 1, and the rank at least 1");
      }
    }
    return absl::OkStatus();
  }

  // Levels count for whichever format has codes; the high one's, where both have.
  absl::Status CheckLevels(absl::string_view field, int32_t levels, Element Format::*half) const {
    if (levels == 0) return absl::OkStatus();
    int32_t bits = 0;
    for (const FormatId id : {r_.high, r_.low}) {
      const Element element = FormatOf(id).*half;
      if (IsAffine(element)) bits = std::max(bits, ElementBits(element));
    }
    if (bits == 0) {
      return Wrong(field, " ", levels, ", but high '", p_.high, "' is full precision and has no codes; set it to 0");
    }
    if (levels < 2 || levels > 1 << bits) {
      return Wrong(field, " ", levels, "; high '", p_.high, "'", p_.low.empty() ? "" : " with low '", p_.low,
                   p_.low.empty() ? "" : "'", " has ", bits, " bits, so it must be from 2 to ", 1 << bits);
    }
    return absl::OkStatus();
  }

  absl::Status CheckHooks() const {
    if (!(p_.propagation_depth >= 0 && p_.propagation_depth < 1)) {
      return Wrong("propagation_depth ", p_.propagation_depth,
                   "; it is the share of layers that see every token: from 0, which is off, to below 1");
    }
    if (!(p_.propagation_share > 0 && p_.propagation_share <= 1)) {
      return Wrong("propagation_share ", p_.propagation_share,
                   "; it is the share of tokens that go on: above 0 and at most 1");
    }
    return absl::OkStatus();
  }

  // A number that no stage reads is a mistake that would otherwise never show.
  absl::Status CheckRead() const {
    const bool windowed = r_.score == ScoreSource::kLastWindow || p_.propagation_depth > 0;
    const bool replay = r_.score == ScoreSource::kReplay;
    const struct {
      const char* field;
      bool changed;
      bool read;
      const char* reader;
    } fields[] = {
        {"score_queries", p_.score_queries != Profile().score_queries, windowed, "score last_window"},
        {"replay_first", !p_.replay_first.empty(), replay, "score replay"},
        {"replay_later", !p_.replay_later.empty(), replay, "score replay"},
        {"replay_reply", !p_.replay_reply.empty(), replay, "score replay"},
        {"replay_chunk", p_.replay_chunk != Profile().replay_chunk, replay, "score replay"},
        {"replay_quote", p_.replay_quote != Profile().replay_quote, replay, "score replay"},
        {"reduce", p_.reduce != "max", moves() && !r_.split(), "an allocation by score"},
        {"pool", p_.pool != "none", ranks() || p_.propagation_depth > 0, "an allocation by budget"},
        {"pool_width", p_.pool_width != 1, p_.pool != "none", "pool average or max"},
        {"budget", p_.budget != 1, HasBudget(p_), "an allocation by budget"},
        {"high_share", p_.high_share != 0, r_.cuts_twice(), "allocate global_tiers or top_tiers"},
        {"beta", p_.beta != Profile().beta, r_.allocation == Allocation::kPyramid, "allocate pyramid"},
        {"layer_shares", !p_.layer_shares.empty(), r_.allocation == Allocation::kLayerShares, "allocate layer_shares"},
        {"alpha_high", p_.alpha_high != 0, thresholds(), "an allocation or online policy by threshold"},
        {"alpha_low", p_.alpha_low != 0, thresholds(), "an allocation or online policy by threshold"},
        {"sinks", p_.sinks != 0, HasBudget(p_), "an allocation by budget"},
        {"key_rank", p_.key_rank != 0, p_.group_layers > 0, "group_layers"},
        {"value_rank", p_.value_rank != 0, p_.group_layers > 0, "group_layers"},
        {"dense_layers", p_.dense_layers != 0, p_.read_tokens > 0, "read_tokens"},
        {"propagation_share", p_.propagation_share != 1, p_.propagation_depth > 0, "propagation_depth"},
    };
    for (const auto& field : fields) {
      if (field.changed && !field.read) {
        return Wrong("field ", field.field, " is set, but only ", field.reader, " reads it; remove it or use that");
      }
    }
    return absl::OkStatus();
  }

  const Profile& p_;
  const Recipe& r_;
  const Geometry& g_;
};

}  // namespace

absl::Status CheckNumbers(const Profile& profile, const Recipe& recipe, const Geometry& geometry) {
  return Numbers(profile, recipe, geometry).Check();
}

}  // namespace decant
