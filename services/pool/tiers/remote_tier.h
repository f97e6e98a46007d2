// The remote tier: records in Redis or Valkey, through hiredis.
//
// A record is one value under "decant:1:" and its name. The server bounds what it holds (maxmemory with allkeys-lru is
// what it is meant to run with); records leave after `keep` at the latest. Connections are made when needed and kept;
// when the server fails, calls end at once until the circuit breaker lets one try again.
#ifndef DECANT_SERVICES_POOL_TIERS_REMOTE_TIER_H_
#define DECANT_SERVICES_POOL_TIERS_REMOTE_TIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/store/tier.h"
#include "services/pool/tiers/circuit_breaker.h"
#include "services/pool/tiers/redis_connection.h"

namespace decant {

struct RemoteOptions {
  std::string address;   // HOST:PORT, or the path of a unix socket
  std::string password;  // of the default user; empty: none is asked for
  absl::Duration connect_limit = absl::Seconds(1);
  absl::Duration call_limit = absl::Seconds(2);  // of one call, where its deadline is not sooner
  absl::Duration keep = absl::Hours(24);
  size_t connections = 4;  // at once; a call that finds them busy waits until its deadline
  int64_t most_record_bytes = int64_t{256} << 20;
  CircuitBreakerOptions breaker;
  std::function<absl::Time()> now = [] { return absl::Now(); };
};

// Some of the records that a server holds.
struct RemotePage {
  std::vector<RecordHead> heads;
  uint64_t next = 0;  // where the next page begins; 0: this was the last one
};

class RemoteTier final : public ByteTier {
 public:
  // INVALID_ARGUMENT for an address that is neither form. The server need not be up.
  static absl::StatusOr<std::unique_ptr<RemoteTier>> Create(RemoteOptions options);

  Tier tier() const override { return Tier::kRemote; }
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) override;
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) override;
  absl::Status Erase(const RecordId& id, absl::Time deadline) override;
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) override;
  std::vector<RecordName> TakeForgotten() override { return {}; }  // the server does not say
  // Zeros: others write there too, and the server bounds and counts it.
  TierUse use() const override;

  // Heads of the records among some 64 of the server's keys, from 0 and then from `next` on. What is there from the
  // first page to the last is found, perhaps twice; what cannot be read as a record is left out. UNAVAILABLE,
  // DEADLINE_EXCEEDED.
  absl::StatusOr<RemotePage> Scan(uint64_t cursor, absl::Time deadline);

  uint64_t times_opened() const;  // of the circuit breaker

 private:
  struct Taken {
    std::unique_ptr<RedisConnection> connection;
    bool kept = false;  // from an earlier call
  };

  explicit RemoteTier(RemoteOptions options);
  // Makes one call on a connection of the pool: UNAVAILABLE at once while the breaker is open.
  absl::StatusOr<RedisReply> Call(const std::vector<absl::string_view>& arguments, absl::Time deadline);
  // ABORTED when a kept connection turned out to be closed; `kept`: one of those may be used.
  absl::StatusOr<RedisReply> CallOnce(const std::vector<absl::string_view>& arguments, absl::Time deadline, bool kept);
  absl::StatusOr<std::string> HeadAt(absl::string_view key, absl::Time deadline);
  absl::StatusOr<Taken> Take(absl::Time deadline, bool kept);
  void GiveBack(std::unique_ptr<RedisConnection> connection);

  const RemoteOptions options_;
  mutable absl::Mutex mutex_;
  CircuitBreaker breaker_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<RedisConnection>> idle_ ABSL_GUARDED_BY(mutex_);
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_REMOTE_TIER_H_
