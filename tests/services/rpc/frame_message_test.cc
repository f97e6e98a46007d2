#include "services/rpc/frame_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/base/random.h"
#include "decant/v1/frames.pb.h"
#include "services/rpc/frame_stream.h"

namespace decant {
namespace {

grpc::ByteBuffer Buffer(const std::vector<std::string>& pieces) {
  std::vector<grpc::Slice> slices;
  for (const std::string& piece : pieces) slices.emplace_back(piece);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

ConstMemoryRef Part(const std::string& bytes) {
  return {MemorySpace::kHost, bytes.data(), static_cast<int64_t>(bytes.size())};
}

v1::FrameMessage SomeMessage() {
  v1::FrameMessage message;
  message.set_kind(v1::FrameMessage::KIND_PAYLOAD);
  message.set_sequence(uint64_t{1} << 40);
  message.set_layer(29);
  message.set_bytes(300);
  message.set_crc32c(0xfedcba98u);
  message.set_granted(7);
  message.set_landed(5);
  message.set_batches(4);
  for (uint64_t i = 0; i < 3; ++i) {
    auto* ahead = message.add_ahead();
    ahead->set_sequence(i);
    ahead->set_layer(static_cast<uint32_t>(i + 1));
    ahead->set_bytes(1000 * i);
    ahead->set_crc32c(~static_cast<uint32_t>(i));
  }
  message.set_payload(std::string(300, 'p'));
  return message;
}

void ExpectSomeMessage(const FrameIn& frame) {
  EXPECT_EQ(frame.head().kind, FrameKind::kPayload);
  EXPECT_EQ(frame.head().sequence, uint64_t{1} << 40);
  EXPECT_EQ(frame.head().layer, 29u);
  EXPECT_EQ(frame.head().bytes, 300u);
  EXPECT_EQ(frame.head().crc32c, 0xfedcba98u);
  EXPECT_EQ(frame.head().granted, 7u);
  EXPECT_EQ(frame.head().landed, 5u);
  EXPECT_EQ(frame.head().batches, 4u);
  ASSERT_EQ(frame.ahead().size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(frame.ahead()[i].sequence, i);
    EXPECT_EQ(frame.ahead()[i].layer, i + 1);
    EXPECT_EQ(frame.ahead()[i].bytes, 1000 * i);
    EXPECT_EQ(frame.ahead()[i].crc32c, ~static_cast<uint32_t>(i));
  }
  std::string payload(static_cast<size_t>(frame.payload_bytes()), '\0');
  frame.Copy(0, frame.payload_bytes(), payload.data());
  EXPECT_EQ(payload, std::string(300, 'p'));
}

TEST(FrameMessageTest, ReadsWhatProtobufWritesHoweverItIsSliced) {
  const std::string bytes = SomeMessage().SerializeAsString();
  for (size_t size = 1; size <= bytes.size(); size += size < 60 ? 1 : 97) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < bytes.size(); at += size) {
      pieces.push_back(bytes.substr(at, size));
      pieces.emplace_back();
    }
    const auto frame = FrameIn::Parse(Buffer(pieces));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ExpectSomeMessage(*frame);
  }
}

TEST(FrameMessageTest, WritesWhatProtobufReads) {
  const std::string first = "first part, ";
  const std::string second;
  const std::string third = "third part";
  FrameOut frame;
  frame.parts = {Part(first), Part(second), Part(third)};
  frame.head = HeadOf(FrameKind::kPayload, 77, 3, frame.parts);
  frame.head.granted = 300;
  frame.head.landed = 200;
  frame.head.batches = 128;
  frame.ahead.resize(2);
  frame.ahead[0].sequence = 78;
  frame.ahead[1].sequence = 79;
  frame.ahead[1].bytes = 1 << 20;
  v1::FrameMessage message;
  ASSERT_TRUE(message.ParseFromString(ToString(EncodeFrame(frame))));
  EXPECT_EQ(message.kind(), v1::FrameMessage::KIND_PAYLOAD);
  EXPECT_EQ(message.sequence(), 77u);
  EXPECT_EQ(message.layer(), 3u);
  EXPECT_EQ(message.bytes(), 22u);
  EXPECT_EQ(message.crc32c(), Crc32c("first part, third part", 22));
  EXPECT_EQ(message.granted(), 300u);
  EXPECT_EQ(message.landed(), 200u);
  EXPECT_EQ(message.batches(), 128u);
  ASSERT_EQ(message.ahead_size(), 2);
  EXPECT_EQ(message.ahead(0).sequence(), 78u);
  EXPECT_EQ(message.ahead(1).bytes(), 1u << 20);
  EXPECT_EQ(message.payload(), "first part, third part");
}

TEST(FrameMessageTest, WritesAnEmptyMessage) {
  EXPECT_EQ(EncodeFrame(FrameOut()).Length(), 0u);
  const auto frame = FrameIn::Parse(Buffer({}));
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->head().kind, FrameKind::kUnspecified);
  EXPECT_EQ(frame->payload_bytes(), 0);
}

TEST(FrameMessageTest, SkipsUnknownFieldsAndTakesTheLastOfARepeatedOne) {
  std::string unknown = "\xa0\x06\x2a";                // field 100, varint
  unknown += std::string("\xa1\x06", 2) + "12345678";  // field 100, 8 bytes
  unknown += std::string("\xa5\x06", 2) + "1234";      // field 100, 4 bytes
  unknown += std::string("\xa2\x06\x03", 3) + "abc";   // field 100, bytes
  const std::string some = SomeMessage().SerializeAsString();
  v1::FrameMessage earlier;
  earlier.set_sequence(1);
  earlier.set_payload("overwritten");
  const auto frame = FrameIn::Parse(Buffer({unknown, earlier.SerializeAsString(), unknown, some, unknown}));
  ASSERT_TRUE(frame.ok()) << frame.status();
  ExpectSomeMessage(*frame);
}

TEST(FrameMessageTest, RefusesEveryTruncationThatCutsAField) {
  const std::string bytes = SomeMessage().SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    v1::FrameMessage message;
    const bool valid = message.ParseFromString(bytes.substr(0, size));
    const auto frame = FrameIn::Parse(Buffer({bytes.substr(0, size)}));
    EXPECT_EQ(frame.ok(), valid) << size;
    if (!valid) {
      EXPECT_EQ(frame.status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST(FrameMessageTest, RefusesMalformedBytes) {
  const std::vector<std::string> wrong = {
      std::string("\x00\x01", 2),                          // field 0
      "\x0b",                                              // a group
      "\x0c",                                              // its end
      "\x0e",                                              // wire type 6
      "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",      // a varint of 65 bits
      "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  // a varint of 11 bytes
      "\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",      // a payload of 2^64 - 1 bytes
      std::string("\x32\x02\x10\xff\x01", 5),              // an announcement whose varint passes its end
      std::string("\x32\x03\x7a\x05", 4) + "abcde",        // an announcement that is too short for its field
      std::string("\x32\x7f", 2),                          // an announcement that is not there
      "\xff\xff\xff\xff\x7f\x01",                          // a field number of more than 29 bits
  };
  for (const std::string& bytes : wrong) {
    EXPECT_EQ(FrameIn::Parse(Buffer({bytes})).status().code(), absl::StatusCode::kInvalidArgument)
        << ::testing::PrintToString(bytes);
  }
}

TEST(FrameMessageTest, RefusesMoreAnnouncementsThanAllowed) {
  std::string bytes;
  for (size_t i = 0; i < kMostAhead; ++i) bytes += std::string("\x32\x00", 2);
  EXPECT_TRUE(FrameIn::Parse(Buffer({bytes})).ok());
  EXPECT_FALSE(FrameIn::Parse(Buffer({bytes, std::string("\x32\x00", 2)})).ok());
}

TEST(FrameMessageTest, NeverCrashesOnRandomBytes) {
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    std::string bytes = seed % 2 == 0 ? SomeMessage().SerializeAsString() : std::string(seed % 40, '\0');
    for (uint64_t i = 0; i < (seed % 2 == 0 ? 3 : bytes.size()); ++i) {
      const size_t at = seed % 2 == 0 ? MixBits(seed, 100 + i) % bytes.size() : i;
      bytes[at] = static_cast<char>(MixBits(seed, i));
    }
    v1::FrameMessage message;
    const auto frame = FrameIn::Parse(Buffer({bytes}));
    // Whatever is accepted, protobuf accepts too, with the same payload.
    if (!frame.ok()) continue;
    ASSERT_TRUE(message.ParseFromString(bytes)) << seed;
    std::string payload(static_cast<size_t>(frame->payload_bytes()), '\0');
    frame->Copy(0, frame->payload_bytes(), payload.data());
    ASSERT_EQ(payload, message.payload()) << seed;
    ASSERT_EQ(frame->head().sequence, message.sequence()) << seed;
  }
}

TEST(FrameMessageTest, LandsWhatIsWholeAndRefusesTheRest) {
  const std::string bytes(5000, 'x');
  std::string landed(5000, '\0');
  FrameOut frame;
  frame.parts = {Part(bytes)};
  frame.head = HeadOf(FrameKind::kPayload, 0, 0, frame.parts);
  EXPECT_TRUE(FrameIn::Parse(EncodeFrame(frame))->Land(landed.data()).ok());
  EXPECT_EQ(landed, bytes);
  ++frame.head.bytes;
  EXPECT_EQ(FrameIn::Parse(EncodeFrame(frame))->Land(landed.data()).code(), absl::StatusCode::kDataLoss);
  --frame.head.bytes;
  frame.head.crc32c ^= 1;
  EXPECT_EQ(FrameIn::Parse(EncodeFrame(frame))->Payload().status().code(), absl::StatusCode::kDataLoss);
}

TEST(FrameMessageTest, CopiesAnyPartOfThePayloadHoweverItIsSliced) {
  const std::string payload = "0123456789";
  const std::string head = std::string("\x7a\x0a", 2);
  for (size_t size = 1; size <= payload.size(); ++size) {
    std::vector<std::string> pieces = {head};
    for (size_t at = 0; at < payload.size(); at += size) pieces.push_back(payload.substr(at, size));
    const auto frame = FrameIn::Parse(Buffer(pieces));
    ASSERT_TRUE(frame.ok()) << frame.status();
    for (size_t from = 0; from <= payload.size(); ++from) {
      for (size_t bytes = 0; from + bytes <= payload.size(); ++bytes) {
        std::string plain(bytes + 1, '#');
        std::string checked = plain;
        frame->Copy(static_cast<int64_t>(from), static_cast<int64_t>(bytes), plain.data());
        EXPECT_EQ(frame->CopyWithCrc(static_cast<int64_t>(from), static_cast<int64_t>(bytes), checked.data()),
                  Crc32c(payload.data() + from, bytes));
        EXPECT_EQ(plain, payload.substr(from, bytes) + "#");
        EXPECT_EQ(checked, plain);
      }
    }
  }
}

TEST(FrameMessageTest, BorrowsPartsThatHaveAnOwnerAndCopiesOthers) {
  auto owned = std::make_shared<std::string>(5000, 'x');
  FrameOut frame;
  frame.parts = {Part(*owned), Part(*owned)};
  const auto payload_at = [](const grpc::ByteBuffer& buffer) {
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(buffer.Dump(&slices).ok());
    return static_cast<const void*>(slices.at(1).begin());
  };
  EXPECT_NE(payload_at(EncodeFrame(frame)), owned->data());
  frame.keep = owned;
  const std::weak_ptr<std::string> watch = owned;
  const void* const address = owned->data();
  owned.reset();
  auto buffer = std::make_unique<grpc::ByteBuffer>(EncodeFrame(frame));
  frame = FrameOut();
  EXPECT_EQ(payload_at(*buffer), address);
  EXPECT_FALSE(watch.expired());
  buffer.reset();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace decant
