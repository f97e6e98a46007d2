#include "common/store/tenants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/index/keys.h"

namespace decant {

TenantTable::TenantTable(TenantTerms unknown, size_t limit) : unknown_(unknown), limit_(std::max<size_t>(1, limit)) {
  tenants_.push_back(Tenant{"", NamespaceOf(""), unknown_, 0});
  numbers_.emplace("", kDefaultTenant);
  by_namespace_.emplace(tenants_.front().name_space, kDefaultTenant);
}

absl::Status TenantTable::Configure(absl::string_view name, const TenantTerms& terms) {
  if (terms.quota_bytes < 0 || terms.retention_budget_bytes < 0 || !(terms.weight > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("tenant '", name, "': quota ", terms.quota_bytes,
                                                   " and retention budget ", terms.retention_budget_bytes,
                                                   " cannot be negative, weight ", terms.weight, " must be positive"));
  }
  DECANT_ASSIGN_OR_RETURN(const uint32_t number, NumberOf(name));
  tenants_[number].terms = terms;
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> TenantTable::NumberOf(absl::string_view name) {
  if (const auto found = numbers_.find(name); found != numbers_.end()) return found->second;
  const Digest name_space = NamespaceOf(name);
  uint32_t number = 0;
  if (const auto nameless = by_namespace_.find(name_space); nameless != by_namespace_.end()) {
    number = nameless->second;
    tenants_[number].name = std::string(name);
  } else {
    DECANT_ASSIGN_OR_RETURN(number, Add(name, name_space));
  }
  numbers_.emplace(name, number);
  return number;
}

absl::StatusOr<uint32_t> TenantTable::NumberOfNamespace(const Digest& name_space) {
  if (const auto found = by_namespace_.find(name_space); found != by_namespace_.end()) return found->second;
  return Add("", name_space);
}

absl::StatusOr<uint32_t> TenantTable::Add(absl::string_view name, const Digest& name_space) {
  if (tenants_.size() >= limit_) {
    return absl::ResourceExhaustedError(absl::StrCat("no room for another tenant beside ", limit_));
  }
  const auto number = static_cast<uint32_t>(tenants_.size());
  tenants_.push_back(Tenant{std::string(name), name_space, unknown_, 0});
  by_namespace_.emplace(name_space, number);
  return number;
}

int64_t TenantTable::OverQuota(uint32_t tenant, int64_t bytes) const {
  const Tenant& taker = tenants_[tenant];
  const int64_t held = taker.bytes + taker.bytes_below;
  if (held <= taker.terms.quota_bytes - bytes) return 0;
  return held + bytes - taker.terms.quota_bytes;
}

uint32_t TenantTable::Find(absl::string_view name) const {
  if (const auto found = numbers_.find(name); found != numbers_.end()) return found->second;
  const auto nameless = by_namespace_.find(NamespaceOf(name));
  return nameless == by_namespace_.end() ? kNobody : nameless->second;
}

uint32_t TenantTable::WhoGives(uint32_t taker, int64_t taking, absl::FunctionRef<bool(uint32_t)> can_give) const {
  auto giver = static_cast<uint32_t>(tenants_.size());
  double most = -1;
  for (uint32_t number = 0; number < tenants_.size(); ++number) {
    const Tenant& tenant = tenants_[number];
    const auto holds = static_cast<double>(tenant.bytes + (number == taker ? taking : 0)) / tenant.terms.weight;
    if (holds < most || (holds == most && number != taker) || !can_give(number)) continue;
    giver = number;
    most = holds;
  }
  return giver;
}

}  // namespace decant
