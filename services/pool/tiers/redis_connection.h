// One connection to a Redis server: a request, its reply, and a deadline for both together.
#ifndef DECANT_SERVICES_POOL_TIERS_REDIS_CONNECTION_H_
#define DECANT_SERVICES_POOL_TIERS_REDIS_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

struct redisContext;

namespace decant {

struct RedisReply {
  std::optional<std::string> bytes;  // of a string or a status; nothing for nil
  int64_t number = 0;                // of an integer
  std::vector<RedisReply> items;     // of an array
};

// For one thread at a time. After an error that is not the server's own answer it is of no further use.
class RedisConnection {
 public:
  // `address`: HOST:PORT or a path that begins with '/'. UNAVAILABLE when nobody answers there.
  static absl::StatusOr<std::unique_ptr<RedisConnection>> Open(const std::string& address, absl::Duration limit);
  ~RedisConnection();

  // DEADLINE_EXCEEDED after `limit` or UNAVAILABLE, and the connection is broken; an error reply of the server is
  // RESOURCE_EXHAUSTED for OOM, UNAVAILABLE otherwise, and it is not.
  absl::StatusOr<RedisReply> Call(const std::vector<absl::string_view>& arguments, absl::Duration limit);
  bool broken() const { return broken_; }

 private:
  explicit RedisConnection(redisContext* context) : context_(context) {}
  absl::Status Send(absl::Time deadline);
  absl::StatusOr<RedisReply> Receive(absl::Time deadline);
  absl::Status Await(short events, absl::Time deadline);
  absl::Status Failed();

  redisContext* const context_;
  bool broken_ = false;
};

// HOST and PORT of "HOST:PORT"; nothing for anything else.
std::optional<std::pair<std::string, int>> SplitAddress(absl::string_view address);

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_REDIS_CONNECTION_H_
