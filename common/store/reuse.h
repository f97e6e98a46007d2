// How soon an entry is likely to be used again, learned from what was.
//
// Entries are sorted into families by what is known of them for free: how often they were used, and what they were
// brought behind. Of each family the model counts at which ages entries were used again and how many reached that age
// unused (Kaplan-Meier: an entry still waiting, or given up, counts up to the age it reached). From the hazards follows
// the *index* of a family and age: the best ratio, over all horizons, of expected uses to expected waiting (Gittins'
// index of a stopping problem): uses per operation that keeping the entry is worth from now on. Few observations of a
// family are filled up with those of all families.
//
// Ages are operations, counted in buckets of a quarter octave. Not thread-safe.
#ifndef DECANT_COMMON_STORE_REUSE_H_
#define DECANT_COMMON_STORE_REUSE_H_

#include <array>
#include <cstdint>

#include "absl/container/btree_map.h"
#include "common/store/eviction.h"

namespace decant {

inline constexpr int kReuseFamilies = 16;

// The family of an entry that was used `uses` times, counting the request that brought it, and last as `use` says.
int ReuseFamily(uint32_t uses, uint32_t prefix_uses, const EntryUse& use);

class ReuseModel {
 public:
  ReuseModel();

  // An entry of the family waits from `operation` on.
  void Enter(int family, uint64_t operation);
  // It waits no longer: at `now` it was used again, or nobody waits any more.
  void Leave(int family, uint64_t operation, uint64_t now, bool used);

  // It waits from `to` on instead, and nothing is learned.
  void Renew(int family, uint64_t from, uint64_t to);

  // Works the index out anew from what was counted so far, once a few hundred uses were seen. Costs the ages there are,
  // not the entries.
  void Learn(uint64_t now);
  // Expected uses per operation of an entry of this age, as of the last Learn; never 0. Before there is enough
  // to learn from it falls with the age, so that what follows it is least recently used.
  double Index(int family, uint64_t age) const;

 private:
  static constexpr int kBuckets = 128;  // 32 octaves
  using Counts = std::array<double, kBuckets>;

  static int BucketOf(uint64_t age);
  void Remove(int family, uint64_t operation);
  Counts AtRisk(int family, uint64_t now) const;

  std::array<Counts, kReuseFamilies> used_{};   // uses by age
  std::array<Counts, kReuseFamilies> ended_{};  // given up unused, by age
  std::array<Counts, kReuseFamilies> index_{};
  // Entries that wait, by epoch of their last use.
  std::array<absl::btree_map<uint64_t, int64_t>, kReuseFamilies> waiting_;
  double observed_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_REUSE_H_
