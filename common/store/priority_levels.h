// Retention's order, which stands before every policy's: of two entries the one of lower priority goes first.
#ifndef DECANT_COMMON_STORE_PRIORITY_LEVELS_H_
#define DECANT_COMMON_STORE_PRIORITY_LEVELS_H_

#include <cstdint>
#include <map>

namespace decant {

// What a policy queues its entries in, `Queues`, once for each priority that any entry has had (0 to kMostPriority). A
// policy chooses within one level and never across two, so that a priority means the same whatever the policy is.
// References to queues stay valid.
template <typename Queues>
class PriorityLevels {
 public:
  Queues& operator[](int32_t priority) { return levels_[priority]; }

  // Asks `look(Queues&)`, which returns an optional, for ascending priorities; the first answer there is.
  template <typename Look>
  auto First(Look look) {
    return FirstOf(levels_, look);
  }
  template <typename Look>
  auto First(Look look) const {
    return FirstOf(levels_, look);
  }

 private:
  template <typename Levels, typename Look>
  static auto FirstOf(Levels& levels, Look look) {
    decltype(look(levels.begin()->second)) answer;
    for (auto level = levels.begin(); level != levels.end() && !answer.has_value(); ++level) {
      answer = look(level->second);
    }
    return answer;
  }

  std::map<int32_t, Queues> levels_;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_PRIORITY_LEVELS_H_
