// Transfers whose payloads go over NCCL or CUDA IPC, the libraries being fakes: what a link must do, whatever a carrier
// does.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gpu/link/ipc_carriers.h"
#include "gpu/link/nccl_carriers.h"
#include "tests/support/carrier_reach.h"
#include "tests/support/fake_ipc.h"
#include "tests/support/fake_nccl.h"
#include "tests/support/link_conformance.h"
#include "tests/support/recording_sink.h"

namespace decant {
namespace {

NcclOptions SmallNccl(int most_connections = 8) {
  NcclOptions options;
  options.most_connections = most_connections;
  options.join_limit = absl::Seconds(1);
  options.batch_bytes = int64_t{2} << 20;
  return options;
}

// Makes the carriers of one process from a fake.
struct OverNccl {
  FakeNccl& nccl;
  NcclOptions options = SmallNccl();
  Carriers operator()(Device& device) const {
    Carriers carriers;
    carriers.push_back(std::make_unique<NcclCarriers>(nccl.functions(), device, options));
    return carriers;
  }
};
struct OverIpc {
  FakeIpc& ipc;
  IpcOptions options = {};
  Carriers operator()(Device& device) const {
    Carriers carriers;
    carriers.push_back(std::make_unique<IpcCarriers>(LinkKind::kCudaIpc, ipc.functions(), device, options));
    return carriers;
  }
};
struct OverBoth {
  FakeIpc& ipc;
  FakeNccl& nccl;
  Carriers operator()(Device& device) const {
    Carriers carriers = OverIpc{ipc}(device);
    carriers.push_back(std::move(OverNccl{nccl}(device).front()));
    return carriers;
  }
};
Carriers Nothing(Device&) { return {}; }

class NcclReach {
 public:
  explicit NcclReach(FrameSink& sink) : receiver_(sink, OverNccl{nccl_}), sender_(OverNccl{nccl_}) {
    EXPECT_NE(sender_.Connect(receiver_.address()), nullptr);
  }
  FrameLink& link() { return sender_.link(); }
  std::string address() const { return receiver_.address(); }

 private:
  FakeNccl nccl_;
  ReceivingEnd receiver_;
  SendingEnd sender_;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Nccl, LinkConformance, NcclReach);

class IpcReach {
 public:
  explicit IpcReach(FrameSink& sink) : receiver_(sink, OverIpc{ipc_}), sender_(OverIpc{ipc_}) {
    EXPECT_NE(sender_.Connect(receiver_.address()), nullptr);
  }
  FrameLink& link() { return sender_.link(); }
  std::string address() const { return receiver_.address(); }

 private:
  FakeIpc ipc_;
  ReceivingEnd receiver_;
  SendingEnd sender_;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Ipc, LinkConformance, IpcReach);

// Grants device memory and reads it back.
class DeviceSink final : public FrameSink {
 public:
  void Use(Device& device) {
    device_ = &device;
    stream_ = device.NewStream();
  }
  absl::Status Open(const TransferOpen&) override { return absl::OkStatus(); }
  absl::StatusOr<MemoryRef> Grant(uint64_t, const BatchHeader& header) override {
    absl::MutexLock lock(&mutex_);
    if (header.bytes == 0) return MemoryRef{MemorySpace::kDevice, nullptr, 0};
    auto buffer = device_->Allocate(header.bytes);
    if (!buffer.ok()) return buffer.status();
    buffers_[header.sequence] = *std::move(buffer);
    return MemoryRef{MemorySpace::kDevice, buffers_[header.sequence].As<char>(), header.bytes};
  }
  absl::Status Landed(uint64_t, const BatchHeader& header, MemoryRef memory) override {
    absl::MutexLock lock(&mutex_);
    std::string bytes(static_cast<size_t>(memory.bytes), '\0');
    stream_->Copy(bytes.data(), memory.address, memory.bytes);
    buffers_.erase(header.sequence);
    batches_.push_back(std::move(bytes));
    return absl::OkStatus();
  }
  void Committed(const TransferCommit&, std::function<void(const absl::Status&)> done) override {
    done(absl::OkStatus());
  }
  void Aborted(uint64_t, const absl::Status&) override {
    absl::MutexLock lock(&mutex_);
    buffers_.clear();
  }
  std::vector<std::string> batches() {
    absl::MutexLock lock(&mutex_);
    return batches_;
  }

 private:
  Device* device_ = nullptr;
  std::unique_ptr<Stream> stream_;
  absl::Mutex mutex_;
  std::map<uint64_t, Buffer> buffers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> batches_ ABSL_GUARDED_BY(mutex_);
};

std::vector<std::string> OddBatches() {
  std::vector<std::string> batches;
  for (const size_t size : {1u, 4096u, 0u, 70001u, 1048577u, 3u, 2097152u, 2097153u}) {
    batches.push_back(RandomBytes(size, size));
  }
  return batches;
}

// Sends the batches from device memory, the even ones in one part and the odd ones in three, one of them on the host.
absl::Status SendFromDevice(SendingEnd& sender, const std::string& address, const std::vector<std::string>& batches) {
  auto transfer = sender.link().Open(address, OpenOf(1), Soon());
  if (!transfer.ok()) return transfer.status();
  const auto stream = sender.device().NewStream();
  std::vector<Buffer> buffers;
  for (size_t i = 0; i < batches.size(); ++i) {
    const std::string& bytes = batches[i];
    std::vector<ConstMemoryRef> parts;
    if (!bytes.empty()) {
      auto buffer = sender.device().Allocate(static_cast<int64_t>(bytes.size()));
      if (!buffer.ok()) return buffer.status();
      stream->Copy(buffer->As<char>(), bytes.data(), buffer->bytes());
      const int64_t cut = i % 2 == 0 ? buffer->bytes() : buffer->bytes() / 3;
      parts.push_back({MemorySpace::kDevice, buffer->As<char>(), cut});
      parts.push_back({MemorySpace::kHost, bytes.data() + cut, (buffer->bytes() - cut) / 2});
      const int64_t rest = cut + parts.back().bytes;
      parts.push_back({MemorySpace::kDevice, buffer->As<char>(rest), buffer->bytes() - rest});
      buffers.push_back(*std::move(buffer));
    }
    if (auto sent = (*transfer)->Send(0, parts, Soon()); !sent.ok()) return sent;
  }
  return (*transfer)->Commit({}, Soon());
}

// What arrives in device memory when the batches are sent from device memory, and whether over the carrier.
template <typename Make>
std::vector<std::string> Arrive(const Make& make, const std::vector<std::string>& batches, bool carried) {
  DeviceSink sink;
  ReceivingEnd receiver(sink, make);
  sink.Use(receiver.device());
  SendingEnd sender(make);
  EXPECT_EQ(sender.Connect(receiver.address()) != nullptr, carried);
  const absl::Status sent = SendFromDevice(sender, receiver.address(), batches);
  EXPECT_TRUE(sent.ok()) << sent;
  return sink.batches();
}

TEST(CarriedTransferTest, FramesFromDeviceToDeviceAreThoseOfGrpc) {
  const std::vector<std::string> batches = OddBatches();
  FakeNccl nccl;
  FakeIpc ipc;
  EXPECT_TRUE(Arrive(Nothing, batches, false) == batches);
  EXPECT_TRUE(Arrive(OverNccl{nccl}, batches, true) == batches);
  EXPECT_TRUE(Arrive(OverIpc{ipc}, batches, true) == batches);
  // All but the empty batch and the one that is too large.
  EXPECT_EQ(nccl.bytes_sent(), 1 + 4096 + 70001 + 1048577 + 3 + 2097152);
  EXPECT_EQ(ipc.opened(), 0);
}

// One sender and one receiver over the fake NCCL; batches are carried unless a fault keeps them from it.
class NcclFaultTest : public ::testing::Test {
 protected:
  static GrpcLinkOptions Impatient() {
    GrpcLinkOptions options;
    options.carry_limit = absl::Milliseconds(50);
    return options;
  }
  static TransferServeOptions ImpatientServer() {
    TransferServeOptions options;
    options.carry_limit = absl::Milliseconds(50);
    return options;
  }
  absl::Status Transfer(uint64_t ticket) {
    auto transfer = sender_.link().Open(receiver_.address(), OpenOf(ticket), Soon());
    if (!transfer.ok()) return transfer.status();
    for (const std::string& batch : batches_) {
      const ConstMemoryRef part = Ref(batch);
      if (auto sent = (*transfer)->Send(0, {&part, 1}, Soon()); !sent.ok()) return sent;
    }
    return (*transfer)->Commit({}, Soon());
  }
  // The fault strikes a transfer over a connection that worked; the transfer commits nevertheless, over gRPC.
  void FallsBack(const NcclFaults& faults) {
    ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
    nccl_.Set(faults);
    const absl::Status sent = Transfer(1);
    EXPECT_TRUE(sent.ok()) << sent;
    EXPECT_TRUE(sink_.Received(1).batches == batches_);
    EXPECT_EQ(sink_.Received(1).aborted, 0);
    EXPECT_EQ(nccl_.bytes_sent(), 0);
    // Once the fault is gone the next transfer but one is carried again.
    nccl_.Set({});
    ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
    ASSERT_TRUE(Transfer(2).ok());
    EXPECT_TRUE(sink_.Received(2).batches == batches_);
    EXPECT_EQ(nccl_.bytes_sent(), 3 * 5000);
    EXPECT_EQ(nccl_.most_communicators(), 2);
  }

  FakeNccl nccl_;
  RecordingSink sink_;
  ReceivingEnd receiver_{sink_, OverNccl{nccl_}, ImpatientServer()};
  SendingEnd sender_{OverNccl{nccl_}, Impatient()};
  const std::vector<std::string> batches_ = {RandomBytes(5000, 1), RandomBytes(5000, 2), RandomBytes(5000, 3)};
};

TEST_F(NcclFaultTest, ASendThatHangsInTheMiddleGoesOverGrpcAfterTheLimit) { FallsBack({.send_hangs = true}); }
TEST_F(NcclFaultTest, ASenderThatDiesInTheMiddleOfAFrameLosesNothing) { FallsBack({.sender_dies = true}); }
TEST_F(NcclFaultTest, ASendThatFailsGoesOverGrpc) { FallsBack({.send_fails = true}); }
TEST_F(NcclFaultTest, ADelayBeyondTheLimitGoesOverGrpc) { FallsBack({.delay = absl::Seconds(30)}); }

TEST_F(NcclFaultTest, ADelayWithinTheLimitIsWaitedFor) {
  ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
  nccl_.Set({.delay = absl::Milliseconds(2)});
  ASSERT_TRUE(Transfer(1).ok());
  EXPECT_TRUE(sink_.Received(1).batches == batches_);
}

TEST_F(NcclFaultTest, ABitThatFlipsOnTheWayAbortsTheTransfer) {
  ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
  nccl_.Set({.bit_flips = true});
  EXPECT_EQ(Transfer(1).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(sink_.AwaitEnd(1));
  EXPECT_EQ(sink_.Received(1).aborted, 1);
  EXPECT_TRUE(sink_.Received(1).batches.empty());
}

TEST_F(NcclFaultTest, AConnectionThatHangsIsGivenUpAndLeavesNothing) {
  nccl_.Set({.join_hangs = true});
  EXPECT_EQ(sender_.Connect(receiver_.address()), nullptr);
  ASSERT_TRUE(Transfer(1).ok());
  EXPECT_TRUE(sink_.Received(1).batches == batches_);
  EXPECT_EQ(nccl_.bytes_sent(), 0);
}

TEST_F(NcclFaultTest, AConnectionThatFailsIsGivenUp) {
  nccl_.Set({.join_fails = true});
  EXPECT_EQ(sender_.Connect(receiver_.address()), nullptr);
  nccl_.Set({.id_fails = true, .join_fails = true});
  EXPECT_EQ(sender_.Connect(receiver_.address()), nullptr);
  EXPECT_TRUE(Transfer(1).ok());
  EXPECT_EQ(nccl_.made(), 0);
}

TEST_F(NcclFaultTest, AReceiverThatDiesInTheMiddleEndsTheTransferAndTheCommunicator) {
  ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
  nccl_.Set({.send_hangs = true});
  auto transfer = sender_.link().Open(receiver_.address(), OpenOf(1), Soon());
  ASSERT_TRUE(transfer.ok());
  const ConstMemoryRef part = Ref(batches_[0]);
  ASSERT_TRUE((*transfer)->Send(0, {&part, 1}, Soon()).ok());
  receiver_.Stop();
  EXPECT_FALSE((*transfer)->Flush(Soon()).ok());
  transfer->reset();  // returns only when nothing reads the part any more
  EXPECT_EQ(sink_.Received(1).aborted, 1);
  EXPECT_TRUE(sink_.Received(1).batches.empty());
}

TEST_F(NcclFaultTest, TransfersTakeTurnsOnOneCommunicator) {
  ASSERT_NE(sender_.Connect(receiver_.address()), nullptr);
  auto first = sender_.link().Open(receiver_.address(), OpenOf(1), Soon());
  auto second = sender_.link().Open(receiver_.address(), OpenOf(2), Soon());
  ASSERT_TRUE(first.ok() && second.ok());
  const ConstMemoryRef part = Ref(batches_[0]);
  for (int i = 0; i < 5; ++i) {
    for (FrameSender* sender : {first->get(), second->get()}) {
      ASSERT_TRUE(sender->Send(0, {&part, 1}, Soon()).ok());
      ASSERT_TRUE(sender->Flush(Soon()).ok());
    }
  }
  EXPECT_TRUE((*first)->Commit({}, Soon()).ok());
  EXPECT_TRUE((*second)->Commit({}, Soon()).ok());
  EXPECT_EQ(nccl_.bytes_sent(), 10 * 5000);
  EXPECT_EQ(nccl_.made(), 2);
}

absl::Status SendOne(SendingEnd& sender, const std::string& address, uint64_t ticket) {
  auto transfer = sender.link().Open(address, OpenOf(ticket), Soon());
  if (!transfer.ok()) return transfer.status();
  const std::string bytes = "a frame";
  const ConstMemoryRef part = Ref(bytes);
  if (auto sent = (*transfer)->Send(0, {&part, 1}, Soon()); !sent.ok()) return sent;
  return (*transfer)->Commit({}, Soon());
}

TEST(NcclEvictionTest, ASenderKeepsAFewCommunicatorsAndDropsTheLeastRecentlyUsed) {
  FakeNccl nccl;
  RecordingSink sink;
  std::vector<std::unique_ptr<ReceivingEnd>> receivers;
  for (int i = 0; i < 4; ++i) receivers.push_back(std::make_unique<ReceivingEnd>(sink, OverNccl{nccl}));
  SendingEnd sender(OverNccl{nccl, SmallNccl(2)});
  const auto connect = [&](size_t i) { return sender.Connect(receivers[i]->address()); };
  const auto zero = connect(0);
  const auto one = connect(1);
  ASSERT_TRUE(zero != nullptr && one != nullptr);
  ASSERT_TRUE(SendOne(sender, receivers[0]->address(), 1).ok());  // used after 1
  const auto two = connect(2);
  ASSERT_NE(two, nullptr);
  EXPECT_TRUE(zero->usable());
  EXPECT_FALSE(one->usable());
  ASSERT_NE(connect(3), nullptr);
  EXPECT_FALSE(zero->usable());
  // A peer that was dropped is reached over gRPC, and connected again.
  EXPECT_TRUE(SendOne(sender, receivers[1]->address(), 2).ok());
  ASSERT_NE(connect(1), nullptr);
  const int64_t before = nccl.bytes_sent();
  EXPECT_TRUE(SendOne(sender, receivers[1]->address(), 3).ok());
  EXPECT_EQ(nccl.bytes_sent(), before + 7);
  EXPECT_EQ(nccl.made(), 2 * 5);
}

TEST(NcclEvictionTest, AReceiverThatDroppedASenderSaysSoAndTheBatchComesOverGrpc) {
  FakeNccl nccl;
  RecordingSink sink;
  ReceivingEnd receiver(sink, OverNccl{nccl, SmallNccl(1)});
  SendingEnd first(OverNccl{nccl}, {}, "first");
  SendingEnd second(OverNccl{nccl}, {}, "second");
  ASSERT_NE(first.Connect(receiver.address()), nullptr);
  ASSERT_NE(second.Connect(receiver.address()), nullptr);
  EXPECT_TRUE(SendOne(first, receiver.address(), 1).ok());
  EXPECT_EQ(sink.Received(1).batches, std::vector<std::string>{"a frame"});
  EXPECT_TRUE(SendOne(second, receiver.address(), 2).ok());
  EXPECT_EQ(nccl.bytes_sent(), 7);
}

TEST(LinkChoiceTest, IsByWhatTheTwoDescribe) {
  FakeIpc ipc;
  FakeNccl nccl;
  RecordingSink sink;
  ReceivingEnd near(sink, OverBoth{ipc, nccl});
  ReceivingEnd far(sink, OverBoth{ipc, nccl}, {}, "another host");
  ReceivingEnd plain(sink, Nothing);
  SendingEnd sender(OverBoth{ipc, nccl});
  ASSERT_NE(sender.Connect(near.address()), nullptr);
  EXPECT_EQ(sender.Connect(near.address())->kind(), "cuda_ipc");
  ASSERT_NE(sender.Connect(far.address()), nullptr);
  EXPECT_EQ(sender.Connect(far.address())->kind(), "nccl");
  EXPECT_EQ(sender.Connect(plain.address()), nullptr);
  EXPECT_TRUE(SendOne(sender, plain.address(), 1).ok());
  SendingEnd without(Nothing);
  EXPECT_EQ(without.Connect(near.address()), nullptr);
  EXPECT_TRUE(SendOne(without, near.address(), 2).ok());
}

TEST(LinkChoiceTest, TheNextBestIsTakenWhenOneCannotBeConnected) {
  FakeIpc ipc;
  FakeNccl nccl;
  RecordingSink sink;
  ReceivingEnd receiver(sink, OverBoth{ipc, nccl});
  // The hosts have one name, but what the receiver can open is not the sender's memory.
  ipc.other_host = true;
  SendingEnd sender(OverBoth{ipc, nccl});
  ASSERT_NE(sender.Connect(receiver.address()), nullptr);
  EXPECT_EQ(sender.Connect(receiver.address())->kind(), "nccl");
  nccl.Set({.join_fails = true});
  SendingEnd second(OverBoth{ipc, nccl});
  EXPECT_EQ(second.Connect(receiver.address()), nullptr);
  EXPECT_TRUE(SendOne(second, receiver.address(), 1).ok());
}

TEST(IpcTransferTest, ExportedMemoryIsReadWhereItIs) {
  FakeIpc ipc;
  DeviceSink sink;
  ReceivingEnd receiver(sink, OverIpc{ipc});
  sink.Use(receiver.device());
  SendingEnd sender(OverIpc{ipc});
  ASSERT_NE(sender.Connect(receiver.address()), nullptr);
  const int before = ipc.exports();
  auto memory = ipc.functions().allocate(100000);
  ASSERT_TRUE(memory.ok());
  const std::string bytes = RandomBytes(100000, 1);
  bytes.copy(memory->As<char>(), bytes.size());
  auto transfer = sender.link().Open(receiver.address(), OpenOf(1), Soon());
  ASSERT_TRUE(transfer.ok());
  // Neighbours in memory are one run.
  const ConstMemoryRef parts[] = {{MemorySpace::kDevice, memory->As<char>(10), 5000},
                                  {MemorySpace::kDevice, memory->As<char>(5010), 80000}};
  ASSERT_TRUE((*transfer)->Send(0, parts, Soon()).ok());
  ASSERT_TRUE((*transfer)->Commit({}, Soon()).ok());
  EXPECT_TRUE(sink.batches() == std::vector<std::string>{bytes.substr(10, 85000)});
  EXPECT_EQ(ipc.exports(), before + 1);
}

TEST(IpcTransferTest, AFullRingIsWaitedForAndOnlyWhatItCannotHoldGoesOverGrpc) {
  FakeIpc ipc;
  RecordingSink sink;
  IpcOptions options;
  options.ring_bytes = 4096;
  options.most_regions = 1;
  ReceivingEnd receiver(sink, OverIpc{ipc, options});
  SendingEnd sender(OverIpc{ipc, options});
  ASSERT_NE(sender.Connect(receiver.address()), nullptr);
  std::vector<std::string> batches;
  for (size_t i = 0; i < 40; ++i) batches.push_back(RandomBytes(i % 7 == 3 ? 5000 : 900 + 37 * i, i));
  auto transfer = sender.link().Open(receiver.address(), OpenOf(1), Soon());
  ASSERT_TRUE(transfer.ok());
  for (const std::string& batch : batches) {
    const ConstMemoryRef part = Ref(batch);
    ASSERT_TRUE((*transfer)->Send(0, {&part, 1}, Soon()).ok());
  }
  const absl::Status committed = (*transfer)->Commit({}, Soon());
  ASSERT_TRUE(committed.ok()) << committed;
  EXPECT_TRUE(sink.Received(1).batches == batches);
  EXPECT_LE(ipc.opened(), 1);
  int64_t fit = 0;
  for (const std::string& batch : batches) fit += batch.size() > 4096 ? 0 : static_cast<int64_t>(batch.size());
  EXPECT_EQ((*transfer)->carried().bytes, fit);
}

TEST(IpcTransferTest, ARegionThatCannotBeOpenedLaterFallsBackToGrpc) {
  FakeIpc ipc;
  RecordingSink sink;
  ReceivingEnd receiver(sink, OverIpc{ipc});
  SendingEnd sender(OverIpc{ipc});
  ASSERT_NE(sender.Connect(receiver.address()), nullptr);
  auto memory = ipc.functions().allocate(100);  // a region that the receiver has not opened yet
  ASSERT_TRUE(memory.ok());
  std::string(100, 'a').copy(memory->As<char>(), 100);
  ipc.open_fails = true;
  auto transfer = sender.link().Open(receiver.address(), OpenOf(1), Soon());
  ASSERT_TRUE(transfer.ok());
  const ConstMemoryRef part{MemorySpace::kDevice, memory->As<char>(), 100};
  ASSERT_TRUE((*transfer)->Send(0, {&part, 1}, Soon()).ok());
  ASSERT_TRUE((*transfer)->Commit({}, Soon()).ok());
  EXPECT_EQ(sink.Received(1).batches, std::vector<std::string>{std::string(100, 'a')});
}

TEST(IpcTransferTest, DropsTheLeastRecentlyUsedRing) {
  FakeIpc ipc;
  RecordingSink sink;
  std::vector<std::unique_ptr<ReceivingEnd>> receivers;
  for (int i = 0; i < 3; ++i) receivers.push_back(std::make_unique<ReceivingEnd>(sink, OverIpc{ipc}));
  IpcOptions options;
  options.most_connections = 2;
  SendingEnd sender(OverIpc{ipc, options});
  const auto zero = sender.Connect(receivers[0]->address());
  const auto one = sender.Connect(receivers[1]->address());
  ASSERT_TRUE(zero != nullptr && one != nullptr);
  ASSERT_TRUE(SendOne(sender, receivers[0]->address(), 1).ok());
  ASSERT_NE(sender.Connect(receivers[2]->address()), nullptr);
  EXPECT_TRUE(zero->usable());
  EXPECT_FALSE(one->usable());
  EXPECT_EQ(one->Take(), nullptr);
  EXPECT_TRUE(SendOne(sender, receivers[1]->address(), 2).ok());
  // What others may still have open is neither freed nor more than was allowed, whoever still knows the old carriers.
  EXPECT_EQ(ipc.allocated(), 2);
  EXPECT_EQ(ipc.allocated_bytes(), 2 * options.ring_bytes);
}

TEST(IpcTransferTest, ARingThatIsInUseIsNotDropped) {
  FakeIpc ipc;
  RecordingSink sink;
  IpcOptions options;
  options.most_connections = 1;
  ReceivingEnd first(sink, OverIpc{ipc});
  ReceivingEnd second(sink, OverIpc{ipc});
  SendingEnd sender(OverIpc{ipc, options});
  const auto carrier = sender.Connect(first.address());
  ASSERT_NE(carrier, nullptr);
  auto passage = carrier->Take();
  ASSERT_NE(passage, nullptr);
  EXPECT_EQ(sender.Connect(second.address()), nullptr);
  EXPECT_TRUE(carrier->usable());
  EXPECT_TRUE(SendOne(sender, second.address(), 1).ok());  // over gRPC
  passage.reset();
  EXPECT_NE(sender.Connect(second.address()), nullptr);
  EXPECT_EQ(ipc.allocated(), 1);
}

TEST(IpcTransferTest, WhatIsLateIsLeftToGrpc) {
  FakeIpc ipc;
  RecordingSink sink;
  GrpcLinkOptions late;
  late.carry_limit = absl::ZeroDuration();
  ReceivingEnd receiver(sink, OverIpc{ipc});
  SendingEnd sender(OverIpc{ipc}, late);
  ASSERT_NE(sender.Connect(receiver.address()), nullptr);
  auto transfer = sender.link().Open(receiver.address(), OpenOf(1), Soon());
  ASSERT_TRUE(transfer.ok());
  const std::string bytes = RandomBytes(3000, 1);
  const ConstMemoryRef part = Ref(bytes);
  ASSERT_TRUE((*transfer)->Send(0, {&part, 1}, Soon()).ok());
  ASSERT_TRUE((*transfer)->Commit({}, Soon()).ok());
  EXPECT_EQ((*transfer)->carried().bytes, 0);
  EXPECT_EQ(sink.Received(1).batches, std::vector<std::string>{bytes});
}

// A carrier that nobody connected on this worker, and slips that no sender made.
TEST(CarriedTransferTest, AWorkerWithoutCarriersRefusesHellos) {
  Channels channels;
  WorkerLinks links(channels, {}, {"me", "here"});
  v1::ConnectRequest request;
  request.set_kind(v1::LINK_KIND_NCCL);
  EXPECT_EQ(links.Accept(request).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(links.CarrierTo("127.0.0.1:1"), nullptr);
  EXPECT_EQ(links.kinds(), std::vector<LinkKind>{LinkKind::kGrpc});
}

TEST(CarriedTransferTest, MalformedHellosAndSlipsAreRefused) {
  FakeNccl nccl;
  FakeIpc ipc;
  const auto device = CreateTestDevice(1);
  char memory[16];
  for (const auto& carriers : OverBoth{ipc, nccl}(*device)) {
    EXPECT_EQ(carriers->Accept("peer", "nonsense").status().code(), absl::StatusCode::kInvalidArgument);
    const absl::Status slip = carriers->Receive("nonsense", {MemorySpace::kHost, memory, 16},
                                                PayloadCarriers::Checksum::kNo, Soon(), [](const auto&) { FAIL(); });
    EXPECT_EQ(slip.code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace decant
