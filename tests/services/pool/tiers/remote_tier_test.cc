// The remote tier against a real redis-server: what it stores, and that a server that is gone, hangs or has no room is
// a miss and never a stall.
#include "services/pool/tiers/remote_tier.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/record_samples.h"
#include "tests/support/redis_server.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::IsRecord;
using record_samples::RecordOf;
using record_samples::Shape;
using record_samples::TemporaryFolder;

class RemoteTierTest : public testing::Test {
 protected:
  void StartServer(const std::vector<std::string>& more = {}) {
    auto server = RedisServer::Start(socket_, more);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Make(RemoteOptions options = {}) {
    options.address = socket_;
    options.call_limit = std::min(options.call_limit, absl::Seconds(20));
    options.now = [this] { return start_ + ahead_ + (absl::Now() - start_); };
    auto tier = RemoteTier::Create(options);
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
  }
  absl::Time Soon() const { return absl::Now() + ahead_ + absl::Seconds(30); }
  absl::Status Put(uint64_t number, const Shape& shape = {}) {
    return tier_->Put(IdOfNumber(number), EncodeRecord(RecordOf(number, 0, shape)), Soon());
  }
  absl::Status Check(uint64_t number, const Shape& shape = {}) {
    const absl::StatusOr<std::string> bytes = tier_->Get(IdOfNumber(number), Soon());
    if (!bytes.ok()) return bytes.status();
    const absl::StatusOr<Record> record = DecodeRecord(*bytes, IdOfNumber(number));
    if (!record.ok()) return record.status();
    return IsRecord(*record, number, 0, shape) ? absl::OkStatus() : absl::InternalError("another record");
  }

  const TemporaryFolder folder_;
  const std::string socket_ = folder_.path() + "/redis.sock";
  const absl::Time start_ = absl::Now();
  absl::Duration ahead_ = absl::ZeroDuration();  // added to the tier's clock
  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<RemoteTier> tier_;
};

TEST_F(RemoteTierTest, StoresGivesBackAndErases) {
  StartServer();
  Make();
  for (const int64_t bytes : {int64_t{1}, int64_t{1000}, int64_t{2} << 20}) {
    const Shape shape{2, bytes};
    ASSERT_TRUE(Put(1, shape).ok());
    EXPECT_EQ(Check(1, shape), absl::OkStatus()) << bytes;
  }
  EXPECT_TRUE(*tier_->Contains(IdOfNumber(1), Soon()));
  EXPECT_FALSE(*tier_->Contains(IdOfNumber(2), Soon()));
  EXPECT_TRUE(absl::IsNotFound(Check(2)));
  EXPECT_TRUE(tier_->Erase(IdOfNumber(1), Soon()).ok());
  EXPECT_TRUE(tier_->Erase(IdOfNumber(1), Soon()).ok());
  EXPECT_TRUE(absl::IsNotFound(Check(1)));
}

TEST_F(RemoteTierTest, ManyThreadsShareItsConnections) {
  StartServer();
  RemoteOptions options;
  options.connections = 2;
  Make(options);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (uint64_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 30; ++i) {
        const uint64_t number = 100 * t + i;
        if (!Put(number).ok() || !Check(number).ok()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(RemoteTierTest, AScanFindsEveryRecordInPagesAndNothingElse) {
  StartServer();
  Make();
  constexpr uint64_t kRecords = 300;
  for (uint64_t i = 0; i < kRecords; ++i) ASSERT_TRUE(Put(i, {i == 7 ? 200 : 3, 40}).ok());  // one with a long head
  const auto other = RedisConnection::Open(socket_, absl::Seconds(5));
  ASSERT_TRUE(other.ok());
  std::string key = absl::StrCat("decant:1:", NameOf(IdOfNumber(1)).ToBytes());
  ASSERT_TRUE((*other)
                  ->Call({"COPY", key, absl::StrCat("decant:1:", NameOf(IdOfNumber(900)).ToBytes())},
                         absl::Seconds(5))
                  .ok());  // sound, under a name that is not its own
  ASSERT_TRUE((*other)->Call({"SET", "decant:1:short", "x"}, absl::Seconds(5)).ok());
  ASSERT_TRUE(
      (*other)->Call({"SET", absl::StrCat("decant:1:", std::string(40, 'n')), "no record"}, absl::Seconds(5)).ok());
  ASSERT_TRUE((*other)->Call({"SET", "somebody else's", "x"}, absl::Seconds(5)).ok());
  std::set<Digest> keys;
  uint64_t cursor = 0;
  int pages = 0;
  do {
    const absl::StatusOr<RemotePage> page = tier_->Scan(cursor, Soon());
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LT(page->heads.size(), 200u);
    for (const RecordHead& head : page->heads) keys.insert(head.variant.key);
    cursor = page->next;
    ASSERT_LT(++pages, 100);
  } while (cursor != 0);
  EXPECT_GT(pages, 2);
  EXPECT_EQ(keys.size(), kRecords);
  for (uint64_t i = 0; i < kRecords; ++i) EXPECT_TRUE(keys.contains(IdOfNumber(i).key)) << i;
}

TEST_F(RemoteTierTest, AServerThatIsNotThereIsNotAskedAgainAtOnce) {
  RemoteOptions options;
  options.breaker.failures = 2;
  options.breaker.first_pause = absl::Hours(1);
  options.breaker.longest_pause = absl::Hours(2);
  Make(options);
  EXPECT_TRUE(absl::IsUnavailable(Check(1)));
  EXPECT_EQ(tier_->times_opened(), 0u);
  EXPECT_TRUE(absl::IsUnavailable(Check(1)));
  EXPECT_EQ(tier_->times_opened(), 1u);
  StartServer();
  EXPECT_THAT(std::string(Put(1).message()), testing::HasSubstr("tried again in"));
  ahead_ = absl::Hours(1);
  EXPECT_EQ(Put(1), absl::OkStatus());
  EXPECT_EQ(Check(1), absl::OkStatus());
}

TEST_F(RemoteTierTest, AServerThatWasStartedAnewIsFoundAgainByTheNextCall) {
  StartServer();
  RemoteOptions options;
  options.breaker.failures = 1;
  Make(options);
  ASSERT_TRUE(Put(1).ok());
  server_.reset();
  StartServer();
  EXPECT_TRUE(absl::IsNotFound(Check(1)));
  EXPECT_EQ(tier_->times_opened(), 0u);
}

// The reply of a call that was given up must not be taken for the next one's.
TEST_F(RemoteTierTest, AHungServerIsLateAndItsLateReplyIsNobodys) {
  StartServer();
  Make();
  ASSERT_TRUE(Put(1).ok());
  ASSERT_TRUE(Put(2).ok());
  server_->Stop();
  const absl::Status late = tier_->Get(IdOfNumber(1), absl::Now() + absl::Milliseconds(30)).status();
  server_->Continue();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_EQ(Check(2), absl::OkStatus());
  EXPECT_EQ(Check(1), absl::OkStatus());
}

TEST_F(RemoteTierTest, AServerWithoutRoomIsFullAndNotDown) {
  StartServer({"--maxmemory", "3mb", "--maxmemory-policy", "noeviction"});
  RemoteOptions options;
  options.breaker.failures = 1;
  Make(options);
  absl::Status full;
  for (uint64_t i = 0; i < 40 && full.ok(); ++i) full = Put(i, {1, 200000});
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(tier_->times_opened(), 0u);
  EXPECT_EQ(Check(0, {1, 200000}), absl::OkStatus());
}

TEST_F(RemoteTierTest, APasswordIsUsed) {
  StartServer({"--requirepass", "sesame"});
  Make();
  EXPECT_TRUE(absl::IsUnavailable(Put(1)));
  RemoteOptions options;
  options.password = "sesame";
  Make(options);
  EXPECT_EQ(Put(1), absl::OkStatus());
}

TEST_F(RemoteTierTest, AnAddressIsHostAndPortOrAPath) {
  for (const char* wrong : {"", "host", ":1", "host:0", "host:65536", "host:x"}) {
    RemoteOptions options;
    options.address = wrong;
    EXPECT_TRUE(absl::IsInvalidArgument(RemoteTier::Create(options).status())) << wrong;
  }
  RemoteOptions options;
  options.address = "127.0.0.1:6379";
  EXPECT_TRUE(RemoteTier::Create(options).ok());
}

TEST(CircuitBreakerTest, OpensAfterFailuresInARowAndTriesOnceAfterEachPause) {
  CircuitBreakerOptions options;
  options.failures = 2;
  options.first_pause = absl::Seconds(1);
  options.longest_pause = absl::Seconds(4);
  CircuitBreaker breaker(options);
  absl::Time now = absl::FromUnixSeconds(0);
  EXPECT_TRUE(breaker.Allow(now));
  breaker.Failed(now);
  breaker.Succeeded();
  breaker.Failed(now);
  EXPECT_TRUE(breaker.Allow(now));
  breaker.Failed(now);
  EXPECT_FALSE(breaker.Allow(now));
  absl::Duration longest = absl::ZeroDuration();
  for (int i = 0; i < 6; ++i) {
    const absl::Duration pause = breaker.open_until() - now;
    longest = std::max(longest, pause);
    EXPECT_LE(pause, absl::Seconds(4));
    EXPECT_GE(pause, absl::Milliseconds(500));
    now = breaker.open_until();
    EXPECT_TRUE(breaker.Allow(now));
    EXPECT_FALSE(breaker.Allow(now)) << "one tries, not all";
    breaker.Failed(now);
  }
  EXPECT_GE(longest, absl::Seconds(2));
  now = breaker.open_until();
  EXPECT_TRUE(breaker.Allow(now));
  breaker.Succeeded();
  EXPECT_FALSE(breaker.open());
  EXPECT_TRUE(breaker.Allow(now));
  EXPECT_TRUE(breaker.Allow(now));
}

}  // namespace
}  // namespace decant
