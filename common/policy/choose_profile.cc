#include "common/policy/choose_profile.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/policy/latency_model.h"
#include "common/policy/placement.h"
#include "common/policy/priors.h"

namespace decant {
namespace {

constexpr double kToleranceShare = 0.05;
constexpr double kToleranceMs = 1;
constexpr double kScarceShare = 0.25;  // of decode's pages

struct Priced {
  const ProfileFacts* facts = nullptr;
  bool reuse = false;
  double ttft_ms = 0;
  double queue_ms = 0;  // of it
  double quality = 0;
  double wire_bytes = 0;
  double pages = 0;    // worst case; 0 when the page size is unknown
  double tpot_ms = 0;  // 0 when unknown
  bool has_room = true;
  bool keeps_pace = true;
  std::string refusal;  // not empty: not safe
};

// Of a hit over the chunks that are offered; none when it was never measured.
std::optional<double> HitQuality(const ProfileFacts& facts) {
  return facts.offer.exact && facts.exact_hit_is_cold ? facts.quality : facts.hit_quality;
}

// Empty when the profile may be used.
std::string WhyUnsafe(const ProfileQuestion& question, const ProfileFacts& facts, double quality, bool reuse) {
  if (!question.named.empty() && facts.name != question.named) {
    return absl::StrCat("not asked for: the request names ", question.named);
  }
  if (!facts.quality.has_value()) {
    if (question.floor > 0) {
      return absl::StrCat("its quality was not measured on this model (`decant calibrate --table` does), floor ",
                          question.floor, " needs it");
    }
    return question.named.empty() ? "its quality was not measured on this model (`decant calibrate --table` does); it "
                                    "can be asked for by name"
                                  : "";
  }
  if (reuse && question.floor > 0 && !HitQuality(facts).has_value()) {
    return absl::StrCat("its quality behind a reused prefix was not measured on this model, floor ", question.floor,
                        " needs it");
  }
  if (quality < question.floor) return absl::StrCat("quality ", quality, " below floor ", question.floor);
  return "";
}

double PrefillRate(const PairCandidate& pair, const Observations& seen) {
  const double rate = seen.PrefillTokensPerS(pair.prefill, pair.prefill_load.prefill_tokens_per_s);
  return std::isfinite(rate) && rate > 0 ? rate : kPriorPrefillTokensPerS;
}

// Bytes to decode: forwarded frames with fresh overlays, and what is encoded. The newest tokens stay high: behind a
// long prefix they are most of what is computed, and the ratio of a whole prompt says nothing of them.
double WireBytesOf(const ProfileQuestion& question, const ProfileFacts& facts, bool reuse, const Observations& seen) {
  const PrefixOffer offer = reuse ? facts.offer : PrefixOffer{};
  const int64_t computed = std::max<int64_t>(1, question.prompt_tokens - offer.tokens);
  const int64_t encoded = computed + offer.encoded_tokens;
  const auto full_per_token = static_cast<double>(question.geometry.full_bytes_per_token());
  const auto high = [&](int64_t tokens) {
    return static_cast<double>(HighWireBytes(facts, question.geometry, question.chunk_tokens, tokens));
  };
  double bytes = static_cast<double>(offer.forwarded_bytes);
  if (offer.forwarded_bytes > 0) {
    const int64_t forwarded = offer.chunks - offer.encoded_tokens / question.chunk_tokens;
    bytes += static_cast<double>(OverlayWireBytes(facts, question.geometry, question.chunk_tokens, forwarded));
  }
  if (facts.all_high) return bytes + high(encoded);
  const double ratio = seen.WireRatio(facts.name, facts.wire_ratio);
  if (!reuse || facts.high == FormatId::kNone) return bytes + static_cast<double>(encoded) * full_per_token / ratio;
  const int64_t newest = std::min<int64_t>(computed, facts.window);
  const double prefix_ratio = offer.exact && facts.exact_hit_is_cold ? ratio : facts.hit_wire_ratio;
  return bytes + high(newest) + static_cast<double>(computed - newest) * full_per_token / ratio +
         static_cast<double>(offer.encoded_tokens) * full_per_token / prefix_ratio;
}

LatencyTerms TermsOf(const ProfileQuestion& question, const ProfileFacts& facts, const PairCandidate& pair, bool reuse,
                     double wire_bytes, const Observations& seen) {
  const double full_per_token = static_cast<double>(question.geometry.full_bytes_per_token());
  const PrefixOffer offer = reuse ? facts.offer : PrefixOffer{};
  const auto computed = static_cast<double>(std::max<int64_t>(1, question.prompt_tokens - offer.tokens));
  const auto reused = static_cast<double>(offer.tokens);
  const double tokens_per_s = PrefillRate(pair, seen);
  const double doubling = kContextPerWidth * question.geometry.q_heads * question.geometry.head_dim;
  PairCandidate link = pair;
  link.link_bits_per_s = seen.LinkBitsPerS(facts.name, pair.prefill, pair.decode, pair.link_bits_per_s);

  LatencyTerms terms;
  terms.layers = question.geometry.layers;
  terms.queue_s = static_cast<double>(std::max<int64_t>(0, pair.prefill_queued_tokens)) / tokens_per_s;
  terms.compute_s = computed / tokens_per_s * (reuse ? ContextFactor(reused, computed, doubling) : 1);
  terms.load_s = offer.load_s;
  terms.fetch_bytes = static_cast<double>(offer.bytes);
  terms.fetch_rate = question.fetch_bits_per_s / 8;
  terms.expand_s = reused * full_per_token / kExpandBytesPerS;
  terms.encode_bytes = (computed + static_cast<double>(offer.encoded_tokens)) * full_per_token;
  terms.encode_rate = seen.EncodeBytesPerS(facts.name, facts.encode_bytes_per_s);
  terms.wire_bytes = wire_bytes;
  terms.link_rate = LinkRateOrPrior(link) / 8;
  terms.link_fixed_s = kLinkFixedMs / 1000;
  terms.import_rate = kImportBytesPerS;
  const double settled = reused - static_cast<double>(offer.encoded_tokens);
  terms.settle_s = facts.settles ? settled * full_per_token / kSettleBytesPerS : 0;
  return terms;
}

double ResidentRatio(const ProfileFacts& facts, bool reuse) {
  if (!reuse || (facts.offer.exact && facts.exact_hit_is_cold)) return facts.resident_ratio;
  return std::min(facts.resident_ratio, facts.hit_resident_ratio);
}

Priced Price(const ProfileQuestion& question, const ProfileFacts& facts, const PairCandidate& pair, bool reuse,
             const Observations& seen) {
  Priced priced;
  priced.facts = &facts;
  priced.reuse = reuse;
  // Not better than cold: what the pool holds may be gone when prefill asks for it.
  priced.quality = facts.quality.value_or(0);
  if (reuse) priced.quality = std::min({priced.quality, HitQuality(facts).value_or(0), facts.offer.quality});
  priced.refusal = WhyUnsafe(question, facts, priced.quality, reuse);
  priced.wire_bytes = WireBytesOf(question, facts, reuse, seen);
  const LatencyTerms terms = TermsOf(question, facts, pair, reuse, priced.wire_bytes, seen);
  priced.ttft_ms = 1000 * PredictTtft(terms);
  priced.queue_ms = 1000 * terms.queue_s;
  const double resident = static_cast<double>(question.prompt_tokens + question.max_tokens) *
                          static_cast<double>(question.geometry.full_bytes_per_token()) / ResidentRatio(facts, reuse);
  if (pair.decode_page_bytes > 0) priced.pages = std::ceil(resident / static_cast<double>(pair.decode_page_bytes));
  if (pair.decode_load.total_pages > 0)
    priced.has_room = priced.pages <= static_cast<double>(pair.decode_load.free_pages);
  const double steps = pair.decode_load.decode_steps_per_s;
  if (std::isfinite(steps) && steps > 0) priced.tpot_ms = 1000 / steps * facts.tpot_ratio;
  priced.keeps_pace = question.tpot_ms <= 0 || priced.tpot_ms <= question.tpot_ms;
  return priced;
}

bool IsScarce(const PairCandidate& pair, const Priced& priced) {
  const WorkerLoad& load = pair.decode_load;
  if (load.total_pages <= 0) return false;
  return static_cast<double>(load.free_pages) - priced.pages < kScarceShare * static_cast<double>(load.total_pages);
}

// Why `loser` lost to `winner`: the first rule on which they differ.
std::string WhyLost(const Priced& loser, const Priced& winner, const PairCandidate& pair,
                    const ProfileQuestion& question, double quick_ms, bool scarce) {
  if (loser.facts == winner.facts) {
    return loser.reuse ? absl::StrFormat("recomputing is faster by %.0f ms", loser.ttft_ms - winner.ttft_ms)
                       : absl::StrFormat("reuse saves %d tokens", winner.facts->offer.tokens);
  }
  if (!loser.has_room && winner.has_room) {
    return absl::StrFormat("needs %.0f pages, %d are free", loser.pages, pair.decode_load.free_pages);
  }
  if (!loser.keeps_pace && winner.keeps_pace) {
    return absl::StrFormat("%.1f ms per token, asked for are %.1f", loser.tpot_ms, question.tpot_ms);
  }
  if (loser.ttft_ms > quick_ms) return absl::StrFormat("slower by %.0f ms", loser.ttft_ms - winner.ttft_ms);
  if (scarce && loser.facts->resident_ratio < winner.facts->resident_ratio) {
    return absl::StrFormat("as quick, but needs %.0f pages instead of %.0f and pages are scarce", loser.pages,
                           winner.pages);
  }
  if (loser.quality < winner.quality) {
    return absl::StrFormat("no quicker where it counts, and quality %g below %g", loser.quality, winner.quality);
  }
  return absl::StrFormat("as good, but slower by %.1f ms", loser.ttft_ms - winner.ttft_ms);
}

std::string ReasonFor(const Priced& winner, const std::vector<Priced>& finalists, const ProfileQuestion& question,
                      bool scarce) {
  std::string reason;
  const auto full = std::find_if(finalists.begin(), finalists.end(), [](const Priced& p) { return p.facts->exact; });
  if (!question.named.empty()) {
    reason = "asked for by name";
  } else if (finalists.size() == 1) {
    reason = absl::StrCat("the only profile sure to meet floor ", question.floor);
  } else if (winner.facts->exact) {
    reason = "full precision is quick enough here";
  } else if (full != finalists.end() && !full->has_room && winner.has_room) {
    reason = absl::StrFormat("fits the free pages, full needs %.0f", full->pages);
  } else if (full != finalists.end() && !full->keeps_pace && winner.keeps_pace) {
    reason = absl::StrFormat("keeps %.1f ms per token, full would take %.1f", question.tpot_ms, full->tpot_ms);
  } else if (scarce) {
    reason = "the smallest of those quick enough, because decode's pages are scarce";
  } else {
    reason = "the best of those quick enough";
  }
  absl::StrAppend(&reason, absl::StrFormat(": about %.0f ms", winner.ttft_ms));
  if (full != finalists.end() && !winner.facts->exact)
    absl::StrAppend(&reason, absl::StrFormat(", full %.0f ms", full->ttft_ms));
  absl::StrAppend(&reason, absl::StrFormat(", %.0f bytes to decode", winner.wire_bytes));
  if (winner.reuse) absl::StrAppend(&reason, ", ", winner.facts->offer.tokens, " tokens from the pool");
  if (!winner.facts->measured_on.empty())
    absl::StrAppend(&reason, "; quality as measured on ", winner.facts->measured_on);
  return reason;
}

// Rule 2: one way per safe profile.
std::vector<Priced> Finalists(const std::vector<Priced>& all) {
  std::vector<Priced> finalists;
  for (const Priced& priced : all) {
    if (!priced.refusal.empty()) continue;
    if (finalists.empty() || finalists.back().facts != priced.facts) {
      finalists.push_back(priced);  // the one with reuse stands first
    } else if (WithTolerance(priced.ttft_ms, priced.queue_ms) < finalists.back().ttft_ms) {
      finalists.back() = priced;
    }
  }
  return finalists;
}

// Rules 3 to 6 over the finalists of one pair.
struct Contest {
  std::tuple<bool, bool> standing;  // the best there is: {has to wait for room, misses the pace}
  double quick_ms = 0;              // rule 5
  bool scarce = false;              // rule 6

  static std::tuple<bool, bool> StandingOf(const Priced& priced) { return {!priced.has_room, !priced.keeps_pace}; }
  bool IsEqual(const Priced& priced) const { return StandingOf(priced) == standing && priced.ttft_ms <= quick_ms; }
};

Contest ContestOf(const std::vector<Priced>& finalists, const ProfileQuestion& question, const PairCandidate& pair) {
  const auto key = [](const Priced& p) { return std::make_tuple(Contest::StandingOf(p), p.ttft_ms); };
  const Priced& fastest = *std::min_element(finalists.begin(), finalists.end(),
                                            [&](const Priced& a, const Priced& b) { return key(a) < key(b); });
  Contest contest;
  contest.standing = Contest::StandingOf(fastest);
  contest.quick_ms = std::max(WithTolerance(fastest.ttft_ms, fastest.queue_ms), question.ttft_ms);
  // Judged by the largest of the equals: would the best quality leave too little?
  contest.scarce = std::any_of(finalists.begin(), finalists.end(),
                               [&](const Priced& p) { return contest.IsEqual(p) && IsScarce(pair, p); });
  return contest;
}

const Priced& WinnerOf(const Contest& contest, const std::vector<Priced>& finalists) {
  const auto rank = [&](const Priced& p) {
    const double quality = p.facts->quality.value_or(0);
    return std::make_tuple(contest.IsEqual(p), contest.scarce ? p.facts->resident_ratio : quality, quality, -p.ttft_ms);
  };
  return *std::max_element(finalists.begin(), finalists.end(),
                           [&](const Priced& a, const Priced& b) { return rank(a) < rank(b); });
}

}  // namespace

// The queue is not the profile's doing: a long one must not make all look alike.
double WithTolerance(double ttft_ms, double queue_ms) {
  return queue_ms + (ttft_ms - queue_ms) * (1 + kToleranceShare) + kToleranceMs;
}

absl::Status CheckFloor(const ProfileQuestion& question, absl::Span<const ProfileFacts> profiles) {
  if (!(question.floor >= 0 && question.floor <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fidelity floor is ", question.floor, "; it must be from 0 (anything) to 1 (full precision)"));
  }
  std::vector<std::string> measured;
  bool named = false;
  for (const ProfileFacts& facts : profiles) {
    if (facts.quality.has_value()) measured.push_back(absl::StrCat(facts.name, " ", *facts.quality));
    if (facts.name != question.named) continue;
    named = true;
    const std::string why = WhyUnsafe(question, facts, facts.quality.value_or(0), false);
    if (!why.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("profile ", facts.name, " cannot be used: ", why,
                                                     "; lower the floor or leave the profile to the pool"));
    }
  }
  if (!question.named.empty() && !named) {
    return absl::InvalidArgumentError(absl::StrCat("profile ", question.named, " is unknown"));
  }
  const bool any = std::any_of(profiles.begin(), profiles.end(), [&](const ProfileFacts& facts) {
    return WhyUnsafe(question, facts, facts.quality.value_or(0), false).empty();
  });
  if (any) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no profile meets floor ", question.floor, "; measured are: ", absl::StrJoin(measured, ", ")));
}

absl::StatusOr<ProfileChoice> ChooseProfile(const ProfileQuestion& question, absl::Span<const ProfileFacts> profiles,
                                            const PairCandidate& pair, const Observations& seen) {
  DECANT_RETURN_IF_ERROR(CheckFloor(question, profiles));
  std::vector<Priced> all;
  for (const ProfileFacts& facts : profiles) {
    if (facts.offer.tokens > 0) all.push_back(Price(question, facts, pair, true, seen));
    all.push_back(Price(question, facts, pair, false, seen));
  }
  const std::vector<Priced> finalists = Finalists(all);
  const Contest contest = ContestOf(finalists, question, pair);
  const Priced& winner = WinnerOf(contest, finalists);

  ProfileChoice choice;
  choice.profile = winner.facts->name;
  choice.digest = winner.facts->digest;
  choice.reason = ReasonFor(winner, finalists, question, contest.scarce);
  choice.predicted_ttft_ms = winner.ttft_ms;
  choice.queue_ms = winner.queue_ms;
  choice.quality = winner.quality;
  choice.wire_bytes = static_cast<int64_t>(std::llround(winner.wire_bytes));
  choice.reused_tokens = winner.reuse ? winner.facts->offer.tokens : 0;
  choice.has_room = winner.has_room;
  choice.keeps_pace = winner.keeps_pace;
  for (const Priced& priced : all) {
    const bool chosen = priced.facts == winner.facts && priced.reuse == winner.reuse;
    std::string verdict = chosen ? "chosen"
                          : !priced.refusal.empty()
                              ? priced.refusal
                              : WhyLost(priced, winner, pair, question, contest.quick_ms, contest.scarce);
    choice.alternatives.push_back(
        PricedAlternative{priced.facts->name, priced.reuse, priced.ttft_ms, priced.quality, std::move(verdict)});
  }
  return choice;
}

}  // namespace decant
