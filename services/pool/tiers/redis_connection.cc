// hiredis formats requests and parses replies; its socket is non-blocking and waited for here, because a limit for each
// read would let a server that sends one byte now and then hold a thread for ever.
#include "services/pool/tiers/redis_connection.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// hiredis writes to sockets that may be closed, and has no flag against the signal.
void BlockSigpipe() {
  thread_local const bool blocked = [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    return pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0;
  }();
  (void)blocked;
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

absl::StatusOr<RedisReply> ToReply(const redisReply& reply) {
  RedisReply result;
  switch (reply.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      result.bytes.emplace(reply.str, static_cast<size_t>(reply.len));
      return result;
    case REDIS_REPLY_INTEGER:
      result.number = reply.integer;
      return result;
    case REDIS_REPLY_NIL:
      return result;
    case REDIS_REPLY_ARRAY:
      for (size_t i = 0; i < reply.elements; ++i) {
        DECANT_ASSIGN_OR_RETURN(RedisReply item, ToReply(*reply.element[i]));
        result.items.push_back(std::move(item));
      }
      return result;
    case REDIS_REPLY_ERROR: {
      const absl::string_view words(reply.str, static_cast<size_t>(reply.len));
      const std::string message = absl::StrCat("the server answers: ", words.substr(0, 200));
      if (absl::StartsWith(words, "OOM")) return absl::ResourceExhaustedError(message);
      return absl::UnavailableError(message);
    }
    default:
      return absl::UnavailableError(absl::StrCat("a reply of type ", reply.type, " was not asked for"));
  }
}

}  // namespace

std::optional<std::pair<std::string, int>> SplitAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0) return std::nullopt;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) return std::nullopt;
  return std::make_pair(std::string(address.substr(0, colon)), port);
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisConnection::Open(const std::string& address,
                                                                       absl::Duration limit) {
  BlockSigpipe();
  const timeval wait = absl::ToTimeval(std::max(limit, absl::Milliseconds(1)));
  redisContext* context = nullptr;
  if (absl::StartsWith(address, "/")) {
    context = redisConnectUnixWithTimeout(address.c_str(), wait);
  } else {
    const auto split = SplitAddress(address);
    if (!split.has_value()) return absl::InvalidArgumentError(absl::StrCat("'", address, "' is not HOST:PORT"));
    context = redisConnectWithTimeout(split->first.c_str(), split->second, wait);
  }
  if (context == nullptr || context->err != 0) {
    const std::string why = context == nullptr ? "no memory" : context->errstr;
    if (context != nullptr) redisFree(context);
    return absl::UnavailableError(absl::StrCat("can't connect to ", address, ": ", why));
  }
  // From here on reads and writes return at once; a loop of ours waits.
  context->flags &= ~REDIS_BLOCK;
  const int flags = fcntl(context->fd, F_GETFL);
  fcntl(context->fd, F_SETFL, flags | O_NONBLOCK);
  context->reader->maxbuf = size_t{1} << 20;  // what is kept of a read buffer that is empty
  return std::unique_ptr<RedisConnection>(new RedisConnection(context));
}

RedisConnection::~RedisConnection() { redisFree(context_); }

absl::StatusOr<RedisReply> RedisConnection::Call(const std::vector<absl::string_view>& arguments,
                                                 absl::Duration limit) {
  BlockSigpipe();
  if (limit <= absl::ZeroDuration()) return absl::DeadlineExceededError("no time is left for the call");
  const absl::Time deadline = absl::Now() + limit;
  std::vector<const char*> addresses;
  std::vector<size_t> sizes;
  for (const absl::string_view argument : arguments) {
    addresses.push_back(argument.data());
    sizes.push_back(argument.size());
  }
  if (redisAppendCommandArgv(context_, static_cast<int>(arguments.size()), addresses.data(), sizes.data()) !=
      REDIS_OK) {
    return Failed();
  }
  DECANT_RETURN_IF_ERROR(Send(deadline));
  return Receive(deadline);
}

absl::Status RedisConnection::Send(absl::Time deadline) {
  int done = 0;
  while (true) {
    if (redisBufferWrite(context_, &done) != REDIS_OK) return Failed();
    if (done != 0) return absl::OkStatus();
    DECANT_RETURN_IF_ERROR(Await(POLLOUT, deadline));
  }
}

absl::StatusOr<RedisReply> RedisConnection::Receive(absl::Time deadline) {
  while (true) {
    void* raw = nullptr;
    if (redisGetReplyFromReader(context_, &raw) != REDIS_OK) return Failed();
    if (raw != nullptr) {
      const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(raw));
      return ToReply(*reply);
    }
    DECANT_RETURN_IF_ERROR(Await(POLLIN, deadline));
    if (redisBufferRead(context_) != REDIS_OK) return Failed();
  }
}

// A reply that comes after its caller has left must not be taken for the next one's.
absl::Status RedisConnection::Await(short events, absl::Time deadline) {
  while (true) {
    const int64_t left_ms = absl::ToInt64Milliseconds(deadline - absl::Now() + absl::Milliseconds(1));
    pollfd file{context_->fd, events, 0};
    const int ready = left_ms <= 0 ? 0 : poll(&file, 1, static_cast<int>(std::min<int64_t>(left_ms, 60000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) {
      broken_ = true;
      return absl::UnavailableError(absl::StrCat("waiting for the server: ", std::strerror(errno)));
    }
    if (absl::Now() < deadline) continue;
    broken_ = true;
    return absl::DeadlineExceededError("the server did not answer in time");
  }
}

absl::Status RedisConnection::Failed() {
  broken_ = true;
  return absl::UnavailableError(absl::StrCat("the connection broke: ", context_->errstr));
}

}  // namespace decant
