// What lies behind the host tier: policies, order, deadlines, and that nothing wrong is ever handed on.
#include "services/pool/tiers/tiered_store.h"

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::IsRecord;
using record_samples::RecordOf;

// A tier whose calls wait at a gate until it is opened.
class GatedTier final : public ByteTier {
 public:
  explicit GatedTier(Tier tier) : memory_(tier) {}
  Tier tier() const override { return memory_.tier(); }
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) override {
    Pass(id);
    return memory_.Put(id, record, deadline);
  }
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) override {
    Pass(id);
    return memory_.Get(id, deadline);
  }
  absl::Status Erase(const RecordId& id, absl::Time deadline) override { return memory_.Erase(id, deadline); }
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) override {
    return memory_.Contains(id, deadline);
  }
  std::vector<RecordName> TakeForgotten() override { return memory_.TakeForgotten(); }
  TierUse use() const override { return memory_.use(); }

  MemoryTier& memory() { return memory_; }
  void Close() { SetOpen(false); }
  void Open() { SetOpen(true); }
  // Calls that have come to the gate, in order.
  std::vector<RecordId> AwaitCalls(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return calls_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
    return calls_;
  }

 private:
  void SetOpen(bool open) {
    absl::MutexLock lock(&mutex_);
    open_ = open;
  }
  void Pass(const RecordId& id) {
    absl::MutexLock lock(&mutex_);
    calls_.push_back(id);
    mutex_.Await(absl::Condition(&open_));
  }

  MemoryTier memory_;
  absl::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = true;
  std::vector<RecordId> calls_ ABSL_GUARDED_BY(mutex_);
};

class TieredStoreTest : public testing::Test {
 protected:
  void Make(TieredOptions options = {}) {
    auto disk = std::make_unique<GatedTier>(Tier::kDisk);
    auto remote = std::make_unique<GatedTier>(Tier::kRemote);
    disk_ = disk.get();
    remote_ = remote.get();
    std::vector<std::unique_ptr<ByteTier>> tiers;
    tiers.push_back(std::move(disk));
    tiers.push_back(std::move(remote));
    store_ = std::make_unique<TieredStore>(std::move(options), std::move(tiers));
  }
  void TearDown() override {
    if (store_ == nullptr) return;
    disk_->Open();
    remote_->Open();
  }

  void Note(HostEvent event, uint64_t number, uint32_t version = 0) {
    store_->Note(event, IdOfNumber(number), [&] { return RecordOf(number, version); });
  }
  // Everything noted so far has been written.
  void Settle() {
    for (int i = 0; i < 10000; ++i) {
      const TieredStats stats = store_->stats();
      if (stats.lanes[0].writes_waiting + stats.lanes[1].writes_waiting == 0) return;
      absl::SleepFor(absl::Milliseconds(1));
    }
    FAIL() << "writes do not end";
  }
  static bool Has(ByteTier& tier, uint64_t number) {
    return *tier.Contains(IdOfNumber(number), absl::InfiniteFuture());
  }
  Loaded Load(uint64_t number, LoadWant want = {}) { return store_->LoadAndWait(IdOfNumber(number), want); }
  static void Fill(GatedTier& tier, uint64_t number, uint32_t version = 0) {
    const Record record = RecordOf(number, version);
    ASSERT_TRUE(tier.memory().Put(IdOf(record.variant), EncodeRecord(record), absl::InfiniteFuture()).ok());
  }

  std::unique_ptr<TieredStore> store_;
  GatedTier* disk_ = nullptr;  // owned by the store
  GatedTier* remote_ = nullptr;
};

TEST_F(TieredStoreTest, WriteThroughWritesWhatIsStoredToEveryTierOnce) {
  Make();
  Note(HostEvent::kStored, 1);
  Settle();
  EXPECT_TRUE(Has(*disk_, 1));
  EXPECT_TRUE(Has(*remote_, 1));
  Note(HostEvent::kEvicted, 1);
  Note(HostEvent::kStored, 1);
  Settle();
  EXPECT_EQ(store_->stats().lanes[0].written, 1);
  EXPECT_EQ(store_->stats().lanes[1].written, 1);
}

TEST_F(TieredStoreTest, SelectiveWritesAtTheKthHit) {
  TieredOptions options;
  options.write = WritePolicy::kSelective;
  options.selective_hits = 3;
  Make(options);
  Note(HostEvent::kStored, 1);
  Note(HostEvent::kHit, 1);
  Note(HostEvent::kHit, 1);
  Note(HostEvent::kEvicted, 2);
  Settle();
  EXPECT_FALSE(Has(*disk_, 1));
  EXPECT_FALSE(Has(*disk_, 2));
  Note(HostEvent::kHit, 1);
  Settle();
  EXPECT_TRUE(Has(*disk_, 1));
  EXPECT_TRUE(Has(*remote_, 1));
}

TEST_F(TieredStoreTest, WriteBackWritesWhatTheHostTierForgets) {
  TieredOptions options;
  options.write = WritePolicy::kBack;
  Make(options);
  Note(HostEvent::kStored, 1);
  Note(HostEvent::kHit, 1);
  Settle();
  EXPECT_FALSE(Has(*disk_, 1));
  Note(HostEvent::kEvicted, 1);
  Settle();
  EXPECT_TRUE(Has(*disk_, 1));
}

TEST_F(TieredStoreTest, WhatWaitsToBeWrittenIsFound) {
  TieredOptions options;
  options.write = WritePolicy::kBack;
  Make(options);
  disk_->Close();
  Note(HostEvent::kEvicted, 1);
  Note(HostEvent::kEvicted, 2);
  EXPECT_EQ(store_->Where(IdOfNumber(2)), Tier::kDisk);
  const Loaded loaded = Load(2);
  ASSERT_TRUE(loaded.record.ok()) << loaded.record.status();
  EXPECT_TRUE(IsRecord(*loaded.record, 2));
  EXPECT_EQ(loaded.tier, Tier::kDisk);
}

TEST_F(TieredStoreTest, AFullWriteQueueDropsAndCounts) {
  TieredOptions options;
  options.write_queue_bytes = 4000;  // two records and a bit
  Make(options);
  disk_->Close();
  for (uint64_t i = 0; i < 5; ++i) Note(HostEvent::kStored, i);
  TieredStats stats = store_->stats();
  EXPECT_LE(stats.lanes[0].writes_waiting_bytes, 4000);
  EXPECT_GT(stats.lanes[0].write_dropped, 0);
  disk_->Open();
  Settle();
  stats = store_->stats();
  EXPECT_EQ(stats.lanes[0].written + stats.lanes[0].write_dropped, 5);
}

TEST_F(TieredStoreTest, LoadsComeFromTheNearestTierThatHasThem) {
  Make();
  Fill(*disk_, 1);
  Fill(*remote_, 1);
  Fill(*remote_, 2);
  EXPECT_EQ(Load(1).tier, Tier::kDisk);
  const Loaded second = Load(2);
  ASSERT_TRUE(second.record.ok());
  EXPECT_EQ(second.tier, Tier::kRemote);
  EXPECT_TRUE(IsRecord(*second.record, 2));
  const Loaded third = Load(3);
  EXPECT_TRUE(absl::IsNotFound(third.record.status()));
  EXPECT_EQ(third.miss, TierMiss::kAbsent);
}

TEST_F(TieredStoreTest, WrongBytesAreErasedCountedAndTheNextTierIsAsked) {
  Make();
  const std::string wrong = EncodeRecord(RecordOf(2));
  ASSERT_TRUE(disk_->memory().Put(IdOfNumber(1), wrong, absl::InfiniteFuture()).ok());
  Fill(*remote_, 1);
  const Loaded loaded = Load(1);
  ASSERT_TRUE(loaded.record.ok()) << loaded.record.status();
  EXPECT_TRUE(IsRecord(*loaded.record, 1));
  EXPECT_EQ(loaded.tier, Tier::kRemote);
  EXPECT_FALSE(Has(*disk_, 1));
  const LaneStats disk = store_->stats().lanes[0];
  EXPECT_EQ(disk.quarantined, 1);
  EXPECT_EQ(disk.misses[static_cast<size_t>(TierMiss::kForeign)], 1);
}

TEST_F(TieredStoreTest, AMissSaysTheMostTellingReason) {
  Make();
  ASSERT_TRUE(disk_->memory().Put(IdOfNumber(1), "rubbish", absl::InfiniteFuture()).ok());
  const Loaded loaded = Load(1);
  EXPECT_EQ(loaded.miss, TierMiss::kDamaged);
  EXPECT_EQ(loaded.tier, Tier::kDisk);
}

TEST_F(TieredStoreTest, AnOlderRecordThanWhatWasWrittenIsStale) {
  Make();
  Note(HostEvent::kStored, 1, 2);
  Settle();
  Fill(*disk_, 1, 1);
  Fill(*remote_, 1, 1);
  const Loaded loaded = Load(1);
  EXPECT_EQ(loaded.miss, TierMiss::kStale) << loaded.record.status();
}

// Whoever asks for a key at a place where it never stood must not be able to erase it.
TEST_F(TieredStoreTest, AWrongQuestionErasesNothing) {
  Make();
  Note(HostEvent::kStored, 1);
  Settle();
  RecordId elsewhere = IdOfNumber(1);
  elsewhere.first_token += 64;
  EXPECT_EQ(store_->LoadAndWait(elsewhere, {}).miss, TierMiss::kForeign);
  EXPECT_EQ(store_->stats().lanes[0].quarantined, 0);
  EXPECT_TRUE(Load(1).record.ok());
}

TEST_F(TieredStoreTest, WhatATierLostSilentlyIsWrittenAgain) {
  Make();
  Note(HostEvent::kStored, 1);
  Settle();
  ASSERT_TRUE(disk_->Erase(IdOfNumber(1), absl::InfiniteFuture()).ok());
  ASSERT_TRUE(remote_->Erase(IdOfNumber(1), absl::InfiniteFuture()).ok());
  EXPECT_EQ(Load(1).miss, TierMiss::kAbsent);
  Note(HostEvent::kStored, 1);
  Settle();
  EXPECT_TRUE(Has(*disk_, 1) && Has(*remote_, 1));
}

TEST_F(TieredStoreTest, ADeadlinePassesThoughTheTierHangs) {
  Make();
  Fill(*disk_, 1);
  disk_->Close();
  LoadWant want;
  want.deadline = absl::Now() + absl::Milliseconds(20);
  const Loaded loaded = Load(1, want);
  EXPECT_EQ(loaded.miss, TierMiss::kLate);
  EXPECT_TRUE(absl::IsDeadlineExceeded(loaded.record.status()));
  disk_->Open();
  EXPECT_TRUE(Load(1).record.ok());
}

// Deadlines were once looked at only when there was nothing else to answer.
TEST_F(TieredStoreTest, ADeadlinePassesThoughThereIsAlwaysSomethingToAnswer) {
  constexpr int kRounds = 100;
  std::atomic<int64_t> seconds = 0;
  TieredOptions options;
  options.readers = 1;
  options.load_queue = 1;
  options.now = [&] { return absl::FromUnixSeconds(seconds); };
  Make(options);
  disk_->Close();
  LoadWant urgent;
  urgent.priority = 9;
  urgent.deadline = absl::FromUnixSeconds(10);
  int round = 0;
  int answered_in = 0;
  absl::Notification late, ended;
  store_->Load(IdOfNumber(0), urgent, [&](const Loaded& loaded) {
    EXPECT_EQ(loaded.miss, TierMiss::kLate);
    answered_in = round;
    late.Notify();
  });
  disk_->AwaitCalls(1);  // the only reader hangs,
  urgent.deadline = absl::InfiniteFuture();
  store_->Load(IdOfNumber(1), urgent, [](const Loaded&) {});  // and the queue is full
  // Each answer asks for the next one, which is there before it ends.
  std::function<void(const Loaded&)> next = [&](const Loaded& loaded) {
    EXPECT_EQ(loaded.miss, TierMiss::kOverload);
    ++seconds;
    if (++round == kRounds) return ended.Notify();
    store_->Load(IdOfNumber(static_cast<uint64_t>(1 + round)), LoadWant(), next);
  };
  store_->Load(IdOfNumber(kRounds + 1), LoadWant(), next);
  late.WaitForNotification();
  ended.WaitForNotification();
  EXPECT_LT(answered_in, kRounds);
}

TEST_F(TieredStoreTest, TheUrgentGoesBeforeThePrefetched) {
  TieredOptions options;
  options.readers = 1;
  Make(options);
  for (uint64_t i = 0; i < 6; ++i) Fill(*disk_, i);
  disk_->Close();
  std::vector<uint64_t> order;
  absl::Notification ended;
  const auto load = [&](uint64_t number, int priority, bool prefetch) {
    LoadWant want;
    want.priority = priority;
    want.prefetch = prefetch;
    store_->Load(IdOfNumber(number), want, [&, number](const Loaded& loaded) {
      EXPECT_TRUE(loaded.record.ok());
      order.push_back(number);  // answers come one after another
      if (order.size() == 6) ended.Notify();
    });
  };
  load(0, 0, true);
  disk_->AwaitCalls(1);  // the only reader is at work
  load(1, 0, true);
  load(2, 0, true);
  load(3, 9, false);
  load(4, 5, false);
  load(2, 7, false);  // somebody waits for what was to be prefetched
  disk_->Open();
  ended.WaitForNotification();
  EXPECT_EQ(order, (std::vector<uint64_t>{0, 3, 2, 2, 4, 1}));
  const TieredStats stats = store_->stats();
  EXPECT_EQ(stats.asked, 3);
  EXPECT_EQ(stats.prefetched, 3);
}

TEST_F(TieredStoreTest, TooManyLoadsAreAnAnswer) {
  TieredOptions options;
  options.readers = 1;
  options.load_queue = 2;
  Make(options);
  for (uint64_t i = 0; i < 5; ++i) Fill(*disk_, i);
  disk_->Close();
  std::map<uint64_t, Loaded> results;
  absl::Mutex mutex;
  const auto load = [&](uint64_t number, int priority) {
    LoadWant want;
    want.priority = priority;
    store_->Load(IdOfNumber(number), want, [&, number](Loaded loaded) {
      absl::MutexLock lock(&mutex);
      results[number] = std::move(loaded);
    });
  };
  load(0, 0);
  disk_->AwaitCalls(1);
  load(1, 5);
  load(2, 5);
  load(3, 9);  // displaces 2
  load(4, 0);  // has no place
  disk_->Open();
  const auto all = [&] { return results.size() == 5; };
  absl::MutexLock lock(&mutex);
  mutex.Await(absl::Condition(&all));
  for (const uint64_t good : {0, 1, 3}) EXPECT_TRUE(results[good].record.ok()) << good;
  for (const uint64_t none : {2, 4}) EXPECT_EQ(results[none].miss, TierMiss::kOverload) << none;
}

// The write ends after Erase was called and before the record is erased.
TEST_F(TieredStoreTest, ARecordErasedWhileItIsWrittenIsKnownNowhere) {
  Make();
  disk_->Close();
  Note(HostEvent::kStored, 1);
  disk_->AwaitCalls(1);
  store_->Erase(IdOfNumber(1));
  disk_->Open();
  Settle();
  const auto known = [&] { return store_->Where(IdOfNumber(1)).has_value() || Has(*disk_, 1) || Has(*remote_, 1); };
  for (int i = 0; i < 2000 && known(); ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(store_->Where(IdOfNumber(1)), std::nullopt);
  EXPECT_FALSE(Has(*disk_, 1) || Has(*remote_, 1));
}

TEST_F(TieredStoreTest, DrainWritesTheRestAndWhatWaits) {
  TieredOptions options;
  options.write = WritePolicy::kBack;
  options.write_queue_bytes = 4000;
  Make(options);
  std::vector<Record> rest;
  for (uint64_t i = 0; i < 20; ++i) rest.push_back(RecordOf(i));
  ASSERT_TRUE(store_->Drain(std::move(rest), absl::Now() + absl::Seconds(60)).ok());
  for (uint64_t i = 0; i < 20; ++i) EXPECT_TRUE(Has(*disk_, i) && Has(*remote_, i)) << i;
  Note(HostEvent::kEvicted, 30);
  Settle();
  EXPECT_FALSE(Has(*disk_, 30));
}

TEST_F(TieredStoreTest, DrainGivesUpAtItsDeadline) {
  Make();
  disk_->Close();
  const absl::Status drained = store_->Drain({RecordOf(1)}, absl::Now() + absl::Milliseconds(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(drained)) << drained;
}

TEST_F(TieredStoreTest, WhatNoTierHasAnyMoreIsTold) {
  Make();
  Note(HostEvent::kStored, 1);
  Note(HostEvent::kStored, 2);
  Settle();
  EXPECT_EQ(store_->Where(IdOfNumber(1)), Tier::kDisk);
  disk_->memory().Evict(IdOfNumber(1));
  disk_->memory().Evict(IdOfNumber(2));
  remote_->memory().Evict(IdOfNumber(2));
  Note(HostEvent::kStored, 3);  // every write takes what was forgotten
  Settle();
  EXPECT_EQ(store_->Where(IdOfNumber(1)), Tier::kRemote);
  EXPECT_EQ(store_->Where(IdOfNumber(2)), std::nullopt);
  EXPECT_THAT(store_->TakeForgotten(), testing::ElementsAre(NameOf(IdOfNumber(2))));
}

TEST_F(TieredStoreTest, AnErasedRecordIsGoneThoughItWaitedToBeWritten) {
  Make();
  disk_->Close();
  Note(HostEvent::kStored, 1);
  disk_->AwaitCalls(1);
  Note(HostEvent::kStored, 2);
  store_->Erase(IdOfNumber(2));
  store_->Erase(IdOfNumber(1));
  disk_->Open();
  Settle();
  Note(HostEvent::kStored, 3);
  Settle();
  EXPECT_FALSE(Has(*disk_, 1));
  EXPECT_FALSE(Has(*disk_, 2));
  EXPECT_TRUE(Has(*disk_, 3));
}

// PegaFlow's invariant: where blocks were found, and where not, adds up to what was asked for.
TEST_F(TieredStoreTest, TheSumOverTiersIsWhatWasAskedFor) {
  Make();
  for (uint64_t i = 0; i < 40; ++i) {
    if (i % 3 == 0) Fill(*disk_, i);
    if (i % 3 == 1) Fill(*remote_, i);
  }
  ASSERT_TRUE(disk_->memory().Put(IdOfNumber(0), "rubbish", absl::InfiniteFuture()).ok());
  for (uint64_t i = 0; i < 40; ++i) Load(i);
  LoadWant prefetch;
  prefetch.prefetch = true;
  Load(3, prefetch);
  Load(2, prefetch);
  store_->CountHost(7);
  store_->CountUnknown(4);
  const TieredStats stats = store_->stats();
  EXPECT_EQ(stats.asked, 51);
  EXPECT_EQ(stats.found[static_cast<size_t>(Tier::kHost)], 7);
  EXPECT_EQ(stats.found[static_cast<size_t>(Tier::kDisk)], 13);
  EXPECT_EQ(stats.found[static_cast<size_t>(Tier::kRemote)], 13);
  EXPECT_EQ(stats.missed, 4 + 14);
  EXPECT_EQ(stats.found[1] + stats.found[2] + stats.found[3] + stats.missed, stats.asked);
  EXPECT_EQ(stats.prefetched, 1);
  EXPECT_EQ(stats.prefetch_missed, 1);
}

TEST_F(TieredStoreTest, ClosingAnswersEverybody) {
  Make();
  Fill(*disk_, 1);
  disk_->Close();
  int answers = 0;
  for (uint64_t i = 0; i < 10; ++i) store_->Load(IdOfNumber(i), {}, [&](const Loaded&) { ++answers; });
  disk_->AwaitCalls(1);
  GatedTier* const disk = disk_;
  std::thread opener([disk] { disk->Open(); });
  store_.reset();
  opener.join();
  EXPECT_EQ(answers, 10);
}

// load_tests/run.sh chaos makes a million faults.
TEST(FaultyTiersTest, NoFaultServesWrongBytes) {
  std::vector<TierFault> reads = {TierFault::kFlip,     TierFault::kTruncate,   TierFault::kStale,
                                  TierFault::kWrongKey, TierFault::kWrongModel, TierFault::kSlow};
  const auto no_wait = [](absl::Duration) {};
  std::vector<std::unique_ptr<ByteTier>> tiers;
  std::vector<FaultyTier*> faulty;
  for (const Tier tier : {Tier::kDisk, Tier::kRemote}) {
    const auto seed = static_cast<uint64_t>(tier);
    auto wrapped = std::make_unique<FaultyTier>(std::make_unique<MemoryTier>(tier), SeededScript(seed, 2, reads),
                                                SeededScript(seed + 10, 5, {TierFault::kFull}), no_wait);
    faulty.push_back(wrapped.get());
    tiers.push_back(std::move(wrapped));
  }
  TieredStore store({}, std::move(tiers));
  constexpr uint64_t kNumbers = 50;
  std::vector<uint32_t> versions(kNumbers, 0);
  int64_t served = 0;
  int64_t missed = 0;
  for (uint64_t step = 0; step < 6000; ++step) {
    const uint64_t number = MixBits(1, step) % kNumbers;
    if (step % 3 == 0) {
      // Stored anew, as a chunk whose receipt has changed.
      store.Erase(IdOfNumber(number));
      ++versions[number];
      store.Note(HostEvent::kStored, IdOfNumber(number), [&] { return RecordOf(number, versions[number]); });
      while (store.stats().lanes[0].writes_waiting + store.stats().lanes[1].writes_waiting > 0) {
        absl::SleepFor(absl::Microseconds(20));
      }
    }
    const Loaded loaded = store.LoadAndWait(IdOfNumber(number), {});
    loaded.record.ok() ? ++served : ++missed;
    ASSERT_TRUE(!loaded.record.ok() || IsRecord(*loaded.record, number, versions[number])) << step;
  }
  EXPECT_GT(served, 1000);
  EXPECT_GT(missed, 100);
  for (const FaultyTier* tier : faulty) {
    for (const TierFault fault : reads) EXPECT_GT(tier->faults()[static_cast<size_t>(fault)], 20) << int(fault);
  }
}

}  // namespace
}  // namespace decant
