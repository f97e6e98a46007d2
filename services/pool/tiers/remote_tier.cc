#include "services/pool/tiers/remote_tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// The number is of the keys' layout; a record says its own version.
constexpr absl::string_view kKeyPrefix = "decant:1:";

constexpr absl::string_view kKeysAPage = "64";
// A head of some 70 frames, and what hardly any exceeds.
constexpr const char* kHeadEnds[] = {"2047", "65535"};

std::string KeyOf(const RecordId& id) { return absl::StrCat(kKeyPrefix, NameOf(id).ToBytes()); }

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteTier>> RemoteTier::Create(RemoteOptions options) {
  if (!absl::StartsWith(options.address, "/") && !SplitAddress(options.address).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the remote tier's address is '", options.address, "'; use HOST:PORT or the path of a socket"));
  }
  if (options.connections < 1 || options.keep < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError("a remote tier needs a connection, and keeps records for some time");
  }
  return std::unique_ptr<RemoteTier>(new RemoteTier(std::move(options)));
}

RemoteTier::RemoteTier(RemoteOptions options) : options_(std::move(options)), breaker_(options_.breaker) {}

absl::Status RemoteTier::Put(const RecordId& id, absl::string_view record, absl::Time deadline) {
  if (static_cast<int64_t>(record.size()) > options_.most_record_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a record of ", record.size(), " bytes; the remote tier takes ", options_.most_record_bytes));
  }
  const std::string key = KeyOf(id);
  const std::string keep_ms = absl::StrCat(absl::ToInt64Milliseconds(options_.keep));
  return Call({"SET", key, record, "PX", keep_ms}, deadline).status();
}

absl::StatusOr<std::string> RemoteTier::Get(const RecordId& id, absl::Time deadline) {
  DECANT_ASSIGN_OR_RETURN(RedisReply reply, Call({"GET", KeyOf(id)}, deadline));
  if (!reply.bytes.has_value()) return absl::NotFoundError("the remote tier has no such record");
  return *std::move(reply.bytes);
}

absl::Status RemoteTier::Erase(const RecordId& id, absl::Time deadline) {
  return Call({"UNLINK", KeyOf(id)}, deadline).status();
}

absl::StatusOr<bool> RemoteTier::Contains(const RecordId& id, absl::Time deadline) {
  DECANT_ASSIGN_OR_RETURN(const RedisReply reply, Call({"EXISTS", KeyOf(id)}, deadline));
  return reply.number > 0;
}

absl::StatusOr<RemotePage> RemoteTier::Scan(uint64_t cursor, absl::Time deadline) {
  const std::string from = absl::StrCat(cursor);
  const std::string pattern = absl::StrCat(kKeyPrefix, "*");
  DECANT_ASSIGN_OR_RETURN(const RedisReply reply,
                          Call({"SCAN", from, "MATCH", pattern, "COUNT", kKeysAPage}, deadline));
  RemotePage page;
  if (reply.items.size() != 2 || !absl::SimpleAtoi(reply.items[0].bytes.value_or(""), &page.next)) {
    return absl::UnavailableError("the server's answer to SCAN is none");
  }
  for (const RedisReply& item : reply.items[1].items) {
    const std::string key = item.bytes.value_or("");
    const auto name = RecordName::FromBytes(absl::StripPrefix(key, kKeyPrefix));
    if (!name.has_value()) continue;
    DECANT_ASSIGN_OR_RETURN(const std::string bytes, HeadAt(key, deadline));
    absl::StatusOr<RecordHead> head = DecodeHead(bytes);
    if (head.ok() && NameOf(IdOf(head->variant)) == *name) page.heads.push_back(*std::move(head));
  }
  return page;
}

// Its beginning, with the whole head in it where that is of a usual size.
absl::StatusOr<std::string> RemoteTier::HeadAt(absl::string_view key, absl::Time deadline) {
  std::string bytes;
  for (const char* end : kHeadEnds) {
    DECANT_ASSIGN_OR_RETURN(RedisReply reply, Call({"GETRANGE", key, "0", end}, deadline));
    bytes = std::move(reply.bytes).value_or("");
    if (!HeadBytes(bytes).empty()) break;
  }
  return bytes;
}

TierUse RemoteTier::use() const {
  absl::MutexLock lock(&mutex_);
  TierUse use;
  use.answers = !breaker_.open();
  return use;
}

uint64_t RemoteTier::times_opened() const {
  absl::MutexLock lock(&mutex_);
  return breaker_.opened();
}

absl::StatusOr<RedisReply> RemoteTier::Call(const std::vector<absl::string_view>& arguments, absl::Time deadline) {
  deadline = std::min(deadline, options_.now() + options_.call_limit);
  {
    absl::MutexLock lock(&mutex_);
    if (!breaker_.Allow(options_.now())) {
      return absl::UnavailableError(
          absl::StrCat(options_.address, " has failed; it is tried again in ",
                       absl::FormatDuration(std::max(breaker_.open_until() - options_.now(), absl::ZeroDuration()))));
    }
  }
  absl::StatusOr<RedisReply> reply = CallOnce(arguments, deadline, true);
  // A kept connection that breaks says only that the server has closed it, or was started anew.
  if (absl::IsAborted(reply.status())) reply = CallOnce(arguments, deadline, false);
  // That it has no room is an answer too.
  const bool failed = !reply.ok() && !absl::IsResourceExhausted(reply.status());
  absl::MutexLock lock(&mutex_);
  failed ? breaker_.Failed(options_.now()) : breaker_.Succeeded();
  return reply;
}

absl::StatusOr<RedisReply> RemoteTier::CallOnce(const std::vector<absl::string_view>& arguments, absl::Time deadline,
                                                bool kept) {
  DECANT_ASSIGN_OR_RETURN(Taken taken, Take(deadline, kept));
  absl::StatusOr<RedisReply> reply = taken.connection->Call(arguments, deadline - options_.now());
  const bool closed = taken.kept && taken.connection->broken() && absl::IsUnavailable(reply.status());
  GiveBack(std::move(taken.connection));
  if (closed) return absl::AbortedError(reply.status().message());
  return reply;
}

absl::StatusOr<RemoteTier::Taken> RemoteTier::Take(absl::Time deadline, bool kept) {
  {
    absl::MutexLock lock(&mutex_);
    const auto free = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return taken_ < options_.connections; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&free), deadline - options_.now())) {
      return absl::DeadlineExceededError(absl::StrCat("all ", options_.connections, " connections are busy"));
    }
    ++taken_;
    if (kept && !idle_.empty()) {
      Taken taken{std::move(idle_.back()), true};
      idle_.pop_back();
      return taken;
    }
  }
  absl::StatusOr<std::unique_ptr<RedisConnection>> opened =
      RedisConnection::Open(options_.address, std::min(options_.connect_limit, deadline - options_.now()));
  if (opened.ok() && !options_.password.empty()) {
    const absl::Status known = (*opened)->Call({"AUTH", options_.password}, deadline - options_.now()).status();
    if (!known.ok()) opened = known;
  }
  if (opened.ok()) return Taken{*std::move(opened), false};
  absl::MutexLock lock(&mutex_);
  --taken_;
  return opened.status();
}

// One that broke takes the idle ones with it: they went to the same server.
void RemoteTier::GiveBack(std::unique_ptr<RedisConnection> connection) {
  std::vector<std::unique_ptr<RedisConnection>> closed;
  absl::MutexLock lock(&mutex_);
  --taken_;
  if (connection->broken()) {
    closed.swap(idle_);
    closed.push_back(std::move(connection));
  } else {
    idle_.push_back(std::move(connection));
  }
}

}  // namespace decant
