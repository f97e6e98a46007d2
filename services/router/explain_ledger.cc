#include "services/router/explain_ledger.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace decant {

std::string ExplainLedger::Key(absl::string_view tenant, absl::string_view request_id) {
  return absl::StrCat(tenant.size(), ":", tenant, request_id);
}

void ExplainLedger::Add(Explanation explanation) {
  std::string key = Key(explanation.tenant, explanation.request_id);
  if (const auto known = by_key_.find(key); known != by_key_.end()) newest_first_.erase(known->second);
  newest_first_.push_front(std::move(explanation));
  by_key_[std::move(key)] = newest_first_.begin();
  while (newest_first_.size() > limit_) {
    by_key_.erase(Key(newest_first_.back().tenant, newest_first_.back().request_id));
    newest_first_.pop_back();
  }
}

absl::StatusOr<Explanation> ExplainLedger::Find(absl::string_view tenant, absl::string_view request_id) const {
  const auto known = by_key_.find(Key(tenant, request_id));
  if (known == by_key_.end()) {
    return absl::NotFoundError(absl::StrCat("no request '", request_id, "' among the last ", limit_,
                                            " that ended here; ids are printed by `generate --json`"));
  }
  return *known->second;
}

}  // namespace decant
