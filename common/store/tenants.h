// Tenants of a store: what each may take, what each takes, and who gives when room is needed.
//
// A quota is hard: the stored bytes of a tenant, in host memory and below it, never exceed it, whatever is free; a
// chunk counts once, where it is nearest. Within quotas host memory is shared by weight, and only when it is short: the
// tenant that holds most of it per weight gives first. So a tenant whose bytes are below its share never loses any to
// another, and what others leave unused is anyone's until they come for it.
#ifndef DECANT_COMMON_STORE_TENANTS_H_
#define DECANT_COMMON_STORE_TENANTS_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace decant {

struct TenantTerms {
  int64_t quota_bytes = std::numeric_limits<int64_t>::max();
  double weight = 1;                   // > 0
  int64_t retention_budget_bytes = 0;  // how much may be kept above the default priority
};

// Not thread-safe.
class TenantTable {
 public:
  static constexpr uint32_t kDefaultTenant = 0;  // the tenant of the empty name is always there
  static constexpr uint32_t kNobody = UINT32_MAX;

  // Tenants that nobody configured get `unknown`. At most `limit` tenants.
  explicit TenantTable(TenantTerms unknown = {}, size_t limit = 65536);

  // INVALID_ARGUMENT for negative bytes or a weight that is not positive; RESOURCE_EXHAUSTED when there are `limit`.
  absl::Status Configure(absl::string_view name, const TenantTerms& terms);
  // The number of a tenant, made when it is new. RESOURCE_EXHAUSTED when there are `limit` others.
  absl::StatusOr<uint32_t> NumberOf(absl::string_view name);
  // kNobody, whose nothing is, when there is no such tenant.
  uint32_t Find(absl::string_view name) const;
  // The same for a tenant of which only the namespace is known (NamespaceOf its name, as stored records have it): it
  // has no name until NumberOf gives it one.
  absl::StatusOr<uint32_t> NumberOfNamespace(const Digest& name_space);

  const std::string& name(uint32_t tenant) const { return tenants_[tenant].name; }
  const Digest& name_space(uint32_t tenant) const { return tenants_[tenant].name_space; }
  const TenantTerms& terms(uint32_t tenant) const { return tenants_[tenant].terms; }
  int64_t bytes(uint32_t tenant) const { return tenants_[tenant].bytes; }  // in host memory
  int64_t bytes_below(uint32_t tenant) const { return tenants_[tenant].bytes_below; }
  size_t size() const { return tenants_.size(); }

  // Adds to what the tenant holds in host memory, or only below it; negative when bytes go.
  void Charge(uint32_t tenant, int64_t bytes) { tenants_[tenant].bytes += bytes; }
  void ChargeBelow(uint32_t tenant, int64_t bytes) { tenants_[tenant].bytes_below += bytes; }
  // How many of its own bytes the tenant has to give up before it may take `bytes`; more than it holds: it never may.
  int64_t OverQuota(uint32_t tenant, int64_t bytes) const;
  // Of the tenants that `can_give`, the one that holds most per weight, `taker`'s bytes counted with `taking` more; of
  // equals `taker`, else the lower number. size() when none can.
  uint32_t WhoGives(uint32_t taker, int64_t taking, absl::FunctionRef<bool(uint32_t)> can_give) const;

 private:
  struct Tenant {
    std::string name;
    Digest name_space;
    TenantTerms terms;
    int64_t bytes = 0;
    int64_t bytes_below = 0;
  };

  absl::StatusOr<uint32_t> Add(absl::string_view name, const Digest& name_space);

  TenantTerms unknown_;
  size_t limit_;
  std::vector<Tenant> tenants_;
  absl::flat_hash_map<std::string, uint32_t> numbers_;
  absl::flat_hash_map<Digest, uint32_t> by_namespace_;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_TENANTS_H_
