#include "gpu/link/shared_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/bytes.h"
#include "gpu/link/ipc_carriers.h"

namespace decant {
namespace {

using testing::HasSubstr;

class SharedMemoryTest : public testing::Test {
 protected:
  const std::shared_ptr<SharedMemory> memory_ = std::make_shared<SharedMemory>();
  const IpcFunctions ipc_ = SharedMemoryIpc(memory_);
};

std::string Handle(int file) { return absl::StrCat("/proc/", getpid(), "/fd/", file); }

TEST_F(SharedMemoryTest, WhatIsWrittenIsReadThroughTheMapping) {
  for (const int64_t bytes : {1, 4095, 4096, 4097, 100000}) {
    auto buffer = ipc_.allocate(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    std::memset(buffer->As<char>(), 7, static_cast<size_t>(bytes));
    const auto region = ipc_.export_region(buffer->As<char>(bytes - 1));
    ASSERT_TRUE(region.ok()) << region.status();
    EXPECT_EQ(region->base, buffer->As<char>());
    const auto mapping = ipc_.open(region->handle);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    EXPECT_EQ(mapping->bytes, bytes);
    EXPECT_EQ(std::memcmp(mapping->base, buffer->As<char>(), static_cast<size_t>(bytes)), 0);
    ipc_.close(*mapping);
  }
  EXPECT_EQ(memory_->allocated_bytes(), 0);
}

TEST_F(SharedMemoryTest, NoBytesAreNoFileAndFewerAreRefused) {
  EXPECT_EQ(ipc_.allocate(0).value().bytes(), 0);
  EXPECT_EQ(ipc_.allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SharedMemoryTest, AnotherProcessReadsIt) {
  auto buffer = ipc_.allocate(5000);
  ASSERT_TRUE(buffer.ok());
  const auto region = ipc_.export_region(buffer->As<char>());
  ASSERT_TRUE(region.ok());
  const pid_t child = fork();
  if (child == 0) {
    // What fork itself has shared goes first.
    munmap(buffer->As<char>(), 5000);
    const auto mapping = SharedMemoryIpc(nullptr).open(region->handle);
    if (!mapping.ok()) _exit(2);
    const auto* const byte = static_cast<const volatile char*>(mapping->base) + 4999;
    for (int i = 0; i < 2000 && *byte != 'x'; ++i) usleep(10000);
    _exit(*byte == 'x' ? 0 : 1);
  }
  *buffer->As<char>(4999) = 'x';
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(SharedMemoryTest, OnlyMemoryOfAFixedSizeIsOpened) {
  // A file that may shrink would kill its readers.
  const int loose = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(loose, 4096), 0);
  EXPECT_THAT(ipc_.open(Handle(loose)).status().message(), HasSubstr("fixed size"));
  close(loose);
  const int other = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_THAT(ipc_.open(Handle(other)).status().message(), HasSubstr("fixed size"));
  close(other);
  EXPECT_EQ(ipc_.open(Handle(other)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ipc_.open("/etc/hostname").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ipc_.open("").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SharedMemoryTest, MemoryOfOthersIsNotExported) {
  auto buffer = ipc_.allocate(4096);
  ASSERT_TRUE(buffer.ok());
  char here = 0;
  EXPECT_EQ(ipc_.export_region(&here).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ipc_.export_region(buffer->As<char>(4096)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SharedMemoryTest, AHelloThatPointsBehindTheMemoryIsRefused) {
  const auto device = CreateHostDevice(1);
  IpcCarriers carriers(LinkKind::kSharedMemory, ipc_, *device);
  auto buffer = ipc_.allocate(4096);
  ASSERT_TRUE(buffer.ok());
  const std::string handle = ipc_.export_region(buffer->As<char>())->handle;
  std::memset(buffer->As<char>(), 0, 4096);
  const auto hello = [&](int64_t offset, int64_t bytes) {
    std::string out;
    ByteWriter writer(out);
    writer.PutString(handle);
    writer.Put(offset);
    writer.Put(bytes);
    writer.Put(uint64_t{0});
    return carriers.Accept("a peer", out).status();
  };
  EXPECT_TRUE(hello(4088, 8).ok());
  EXPECT_EQ(hello(4089, 8).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(hello(int64_t{1} << 62, 8).code(), absl::StatusCode::kInvalidArgument);
}

// What a shorter batch would leave unwritten is what the memory held before.
TEST_F(SharedMemoryTest, ASlipOfAnotherSizeThanItsBatchIsRefused) {
  const auto device = CreateHostDevice(1);
  IpcCarriers carriers(LinkKind::kSharedMemory, ipc_, *device);
  auto buffer = ipc_.allocate(4096);
  ASSERT_TRUE(buffer.ok());
  std::memset(buffer->As<char>(), 'x', 4096);
  char memory[10] = {};
  const auto receive = [&](int64_t bytes) {
    std::string slip;
    ByteWriter writer(slip);
    writer.PutString(ipc_.export_region(buffer->As<char>())->handle);
    writer.Put(int64_t{0});
    writer.Put(bytes);
    const auto done = std::make_shared<absl::Notification>();
    const absl::Status begun =
        carriers.Receive(slip, {MemorySpace::kHost, memory, sizeof(memory)}, PayloadCarriers::Checksum::kNo,
                         absl::Now() + absl::Seconds(60), [done](const auto&) { done->Notify(); });
    if (begun.ok()) done->WaitForNotification();
    return begun;
  };
  EXPECT_EQ(receive(9).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(receive(11).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(memory[0], 0);
  EXPECT_TRUE(receive(10).ok());
  EXPECT_EQ(std::string(memory, sizeof(memory)), "xxxxxxxxxx");
}

}  // namespace
}  // namespace decant
