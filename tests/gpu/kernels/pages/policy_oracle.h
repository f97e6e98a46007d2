// Both policies written down from the text of the paper and of reference notes on the released code, for lists of
// tokens: no pages, no slots, none of the arithmetic of common/compress.
#ifndef DECANT_TESTS_GPU_KERNELS_PAGES_POLICY_ORACLE_H_
#define DECANT_TESTS_GPU_KERNELS_PAGES_POLICY_ORACLE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace decant {

class PolicyOracle {
 public:
  bool paper = false;
  float alpha_high = 0;
  float alpha_low = 0;
  int window = 0;
  int first_query = 0;  // scores began here

  struct Token {
    float sum = 0;
    int slot = 0;  // only to break ties the way the device does: the lowest slot
  };
  std::map<int, Token> high;  // by position
  std::map<int, Token> low;
  std::set<std::string> branches;  // that were taken
  int demoted = 0;
  int dropped = 0;

  // The token at position `n` arrives; n tokens came before it.
  void Step(int n) {
    if (paper) {
      PaperStep(n);
    } else {
      CodeStep(n);
    }
  }

 private:
  using Tier = std::map<int, Token>;

  // Mean attention from the queries that count: the paper's are those after the token, the release counts its own too.
  float Mean(int position, const Token& token, int n) const {
    int queries = 0;
    for (int t = first_query; t < n; ++t) queries += (paper ? t > position : t >= position) ? 1 : 0;
    return queries == 0 ? 0.0f : token.sum / static_cast<float>(queries);
  }

  bool SeenByAWindow(int position, int n) const {
    int queries = 0;
    for (int t = first_query; t < n; ++t) queries += t >= position ? 1 : 0;
    return queries >= window;
  }

  // Tokens of a reused prefix, whose first queries left no scores, stay until at least half of what came later has
  // judged them; the paper's mean is over all of it.
  bool MayBeDropped(int position, int n) const {
    int later = 0;
    int seen = 0;
    for (int t = position + 1; t < n; ++t) {
      ++later;
      seen += t >= first_query ? 1 : 0;
    }
    return !paper || 2 * seen >= later;
  }

  // The eligible token of a tier with the least mean, or the end.
  Tier::iterator ArgMin(Tier& tier, int n, bool to_drop = false) const {
    auto best = tier.end();
    for (auto it = tier.begin(); it != tier.end(); ++it) {
      if (!SeenByAWindow(it->first, n) || (to_drop && !MayBeDropped(it->first, n))) continue;
      if (best == tier.end()) {
        best = it;
        continue;
      }
      const float mean = Mean(it->first, it->second, n);
      const float least = Mean(best->first, best->second, n);
      if (mean < least || (mean == least && it->second.slot < best->second.slot)) best = it;
    }
    return best;
  }

  void Append(int n) { PutHigh(n, static_cast<int>(high.size())); }

  void PutHigh(int n, int slot) { high.emplace(n, Token{0, slot}); }

  int Remove(Tier& tier, Tier::iterator victim) {
    const int slot = victim->second.slot;
    tier.erase(victim);
    return slot;
  }

  void MoveToLow(Tier::iterator victim, int low_slot) {
    Token token = victim->second;
    token.slot = low_slot;
    low[victim->first] = token;
    ++demoted;
  }

  void PaperStep(int n) {
    const float length = static_cast<float>(n + 1);
    const auto candidate = high.find(n - window);
    if (candidate == high.end() || !SeenByAWindow(candidate->first, n)) {
      branches.insert("no candidate");
      return Append(n);
    }
    const float s = Mean(candidate->first, candidate->second, n);
    if (s >= alpha_high / length) {
      const auto victim = ArgMin(high, n);
      const float sv = Mean(victim->first, victim->second, n);
      const bool stays = alpha_low / length <= sv || !MayBeDropped(victim->first, n);
      if (stays && sv < alpha_high / length) {
        branches.insert("keep, demote");
        MoveToLow(victim, static_cast<int>(low.size()));
        PutHigh(n, Remove(high, victim));
      } else if (!stays) {
        branches.insert("keep, drop");
        ++dropped;
        PutHigh(n, Remove(high, victim));
      } else {
        branches.insert("keep");
        Append(n);
      }
    } else if (s >= alpha_low / length || !MayBeDropped(candidate->first, n)) {
      const auto victim = ArgMin(low, n, true);
      int low_slot = static_cast<int>(low.size());
      if (victim != low.end() && Mean(victim->first, victim->second, n) < alpha_low / length) {
        branches.insert("insert low, drop");
        ++dropped;
        low_slot = Remove(low, victim);
      } else {
        branches.insert("insert low");
      }
      MoveToLow(candidate, low_slot);
      PutHigh(n, Remove(high, candidate));
    } else {
      branches.insert("drop");
      ++dropped;
      PutHigh(n, Remove(high, candidate));
    }
  }

  void CodeStep(int n) {
    const int kept = static_cast<int>(high.size() + low.size());
    const float p = alpha_low / static_cast<float>(n);
    const float q = alpha_high / static_cast<float>(n);
    const auto l = ArgMin(high, n);
    const auto r = ArgMin(low, n);
    const float none = 3.402823466e+38f;
    const float ml = l == high.end() ? none : Mean(l->first, l->second, n);
    const float mr = r == low.end() ? none : Mean(r->first, r->second, n);
    if (kept + 1 <= window) {
      branches.insert("short");
      Append(n);
    } else if (ml < p && ml < mr) {
      branches.insert("prune");
      ++dropped;
      PutHigh(n, Remove(high, l));
    } else if (ml < q && mr < p) {
      branches.insert("swap");
      ++dropped;
      const int low_slot = Remove(low, r);
      MoveToLow(l, low_slot);
      PutHigh(n, Remove(high, l));
    } else if (ml < q) {
      branches.insert("demote");
      MoveToLow(l, static_cast<int>(low.size()));
      PutHigh(n, Remove(high, l));
    } else {
      branches.insert("append");
      Append(n);
    }
  }
};

}  // namespace decant

#endif  // DECANT_TESTS_GPU_KERNELS_PAGES_POLICY_ORACLE_H_
