#include "common/store/reuse.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace decant {
namespace {

constexpr double kBucketsPerOctave = 4;
constexpr int kEpochShift = 4;         // waiting entries are counted per 16 operations
constexpr double kFillUp = 300;        // observations of all families that a family starts with
constexpr double kMostObserved = 4e6;  // then everything counted is halved, so that old habits fade
constexpr double kFewest = 1e-12;      // of an index: something is always more than nothing
constexpr uint32_t kPopular = 33;      // a chunk used as often opens prompts of all kinds and says nothing about one

double StartOf(int bucket) { return std::exp2(bucket / kBucketsPerOctave); }

}  // namespace

int ReuseFamily(uint32_t uses, uint32_t prefix_uses, const EntryUse& use) {
  if (use.ends) return 0;
  if (uses >= 2) return static_cast<int>(std::min<uint32_t>(uses, 6)) - 1;  // 1 to 5
  if (prefix_uses == 0 || prefix_uses >= kPopular) return 6;
  return 6 + static_cast<int>(std::min<uint32_t>(prefix_uses, 6));  // 7 to 12
}

ReuseModel::ReuseModel() {
  for (Counts& family : index_) {
    for (int bucket = 0; bucket < kBuckets; ++bucket) family[static_cast<size_t>(bucket)] = 1 / StartOf(bucket);
  }
}

int ReuseModel::BucketOf(uint64_t age) {
  const double octaves = std::log2(static_cast<double>(std::max<uint64_t>(age, 1)));
  return std::min(static_cast<int>(kBucketsPerOctave * octaves), kBuckets - 1);
}

void ReuseModel::Enter(int family, uint64_t operation) {
  ++waiting_[static_cast<size_t>(family)][operation >> kEpochShift];
}

void ReuseModel::Remove(int family, uint64_t operation) {
  auto& waiting = waiting_[static_cast<size_t>(family)];
  const auto epoch = waiting.find(operation >> kEpochShift);
  if (epoch != waiting.end() && --epoch->second == 0) waiting.erase(epoch);
}

void ReuseModel::Renew(int family, uint64_t from, uint64_t to) {
  Remove(family, from);
  Enter(family, to);
}

void ReuseModel::Leave(int family, uint64_t operation, uint64_t now, bool used) {
  Remove(family, operation);
  const auto bucket = static_cast<size_t>(BucketOf(now - std::min(now, operation)));
  (used ? used_ : ended_)[static_cast<size_t>(family)][bucket] += 1;
  if (++observed_ < kMostObserved) return;
  observed_ /= 2;
  for (auto* counts : {&used_, &ended_}) {
    for (Counts& of_family : *counts) {
      for (double& count : of_family) count /= 2;
    }
  }
}

// How many of the family reached each age unused. Those that end or wait within a bucket saw half of it.
ReuseModel::Counts ReuseModel::AtRisk(int family, uint64_t now) const {
  Counts open = ended_[static_cast<size_t>(family)];
  for (const auto& [epoch, entries] : waiting_[static_cast<size_t>(family)]) {
    const uint64_t since = epoch << kEpochShift;
    open[static_cast<size_t>(BucketOf(now - std::min(now, since)))] += static_cast<double>(entries);
  }
  Counts risk{};
  double beyond = 0;
  for (size_t bucket = kBuckets; bucket-- > 0;) {
    beyond += used_[static_cast<size_t>(family)][bucket] + open[bucket];
    risk[bucket] = beyond - open[bucket] / 2;
  }
  return risk;
}

void ReuseModel::Learn(uint64_t now) {
  std::array<Counts, kReuseFamilies> risk;
  Counts used_of_all{};
  Counts risk_of_all{};
  for (int family = 0; family < kReuseFamilies; ++family) {
    risk[static_cast<size_t>(family)] = AtRisk(family, now);
    for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
      used_of_all[bucket] += used_[static_cast<size_t>(family)][bucket];
      risk_of_all[bucket] += risk[static_cast<size_t>(family)][bucket];
    }
  }
  const double all_used = std::accumulate(used_of_all.begin(), used_of_all.end(), 0.0);
  if (all_used < kFillUp) return;
  // Where little was seen of any family, the mean over all ages fills up: per octave a constant share of those who wait
  // comes back, which ranks like least recently used. Without it the oldest, whose like nobody has seen yet, would look
  // dead.
  const double mean = all_used / std::accumulate(risk_of_all.begin(), risk_of_all.end(), 0.0);
  for (size_t family = 0; family < kReuseFamilies; ++family) {
    Counts hazard{};
    for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
      const double common = (used_of_all[bucket] + kFillUp * mean) / (risk_of_all[bucket] + kFillUp);
      hazard[bucket] = std::min(1.0, (used_[family][bucket] + kFillUp * common) / (risk[family][bucket] + kFillUp));
    }
    for (int from = 0; from < kBuckets; ++from) {
      double alive = 1, waited = 0, uses = 0, best = kFewest;
      for (int bucket = from; bucket < kBuckets && alive > 1e-6; ++bucket) {
        const double width = std::max(1.0, StartOf(bucket + 1) - StartOf(bucket));
        const double ends = hazard[static_cast<size_t>(bucket)];
        uses += alive * ends;
        waited += alive * width * (1 - ends / 2);
        alive *= 1 - ends;
        best = std::max(best, uses / waited);
      }
      index_[family][static_cast<size_t>(from)] = best;
    }
  }
}

double ReuseModel::Index(int family, uint64_t age) const {
  return index_[static_cast<size_t>(family)][static_cast<size_t>(BucketOf(age))];
}

}  // namespace decant
