#include "services/prefill/prefix_fetch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "common/kv/frame.h"
#include "common/kv/reject_reason.h"
#include "tests/services/prefill/stored_frames.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr Geometry kGeometry{3, 4, 2, 64};
constexpr int32_t kChunkTokens = 8;

// Checks what the fetch itself leaves to the loader: the model.
class ModelCheck final : public PrefixLoader {
 public:
  absl::Status Check(int32_t layer, int32_t chunk, StoredFrame frame) const override {
    const auto view = ParseFrame(absl::string_view(reinterpret_cast<const char*>(frame.data()), frame.size()));
    if (!view.ok()) return view.status();
    EXPECT_EQ(view->header.first_layer, layer);
    EXPECT_EQ(view->header.first_position, chunk * kChunkTokens);
    if (view->header.model_fingerprint == Sha256("model").Prefix64()) return absl::OkStatus();
    return WithRejectReason(absl::FailedPreconditionError("of another model"), "fingerprint");
  }
  absl::Status Load(Stream& /*stream*/, int32_t /*layer*/, absl::Span<const StoredFrame> /*frames*/,
                    const LayerTap& /*target*/) override {
    return absl::UnimplementedError("not here");
  }
};

std::vector<uint8_t> Frame(int32_t layer, int32_t chunk, FormatId format = FormatId::kK8V4,
                           const char* model = "model") {
  return ZeroFrame(kGeometry, Sha256(model), format, layer, chunk, kChunkTokens);
}

// One message per layer with `chunks` chunks.
std::deque<std::vector<uint8_t>> Messages(int32_t chunks) {
  std::deque<std::vector<uint8_t>> messages;
  for (int32_t layer = 0; layer < kGeometry.layers; ++layer) {
    std::vector<uint8_t>& message = messages.emplace_back();
    for (int32_t chunk = 0; chunk < chunks; ++chunk) {
      const auto frame = Frame(layer, chunk);
      message.insert(message.end(), frame.begin(), frame.end());
    }
  }
  return messages;
}

PrefixFetch::Options Expecting(int32_t chunks) {
  PrefixFetch::Options options;
  options.layers = kGeometry.layers;
  options.chunk_tokens = kChunkTokens;
  options.formats.assign(static_cast<size_t>(chunks), FormatId::kK8V4);
  options.limit = absl::Seconds(60);
  return options;
}

class PrefixFetchTest : public ::testing::Test {
 protected:
  std::unique_ptr<PrefixFetch> Fetch(std::unique_ptr<ScriptedStream> stream, int32_t chunks) {
    return std::make_unique<PrefixFetch>(std::unique_ptr<ChunkStream>(std::move(stream)), check_, Expecting(chunks));
  }
  std::unique_ptr<PrefixFetch> Fetch(std::deque<std::vector<uint8_t>> messages, int32_t chunks) {
    return Fetch(std::make_unique<ScriptedStream>(std::move(messages)), chunks);
  }
  ModelCheck check_;
};

TEST_F(PrefixFetchTest, GivesEveryFrameOfEveryLayer) {
  auto fetch = Fetch(Messages(3), 3);
  for (int32_t layer = 0; layer < kGeometry.layers; ++layer) {
    ASSERT_EQ(fetch->WaitLayer(layer), 3);
    const auto frames = fetch->Frames(layer, 3);
    for (int32_t chunk = 0; chunk < 3; ++chunk) {
      const StoredFrame& frame = frames[static_cast<size_t>(chunk)];
      EXPECT_EQ(std::vector<uint8_t>(frame.begin(), frame.end()), Frame(layer, chunk));
    }
  }
  EXPECT_TRUE(fetch->complete());
  EXPECT_EQ(fetch->provenance(2), Provenance::kQuantised);
  EXPECT_EQ(fetch->miss_reason(), "");
  EXPECT_EQ(fetch->miss_label(), "");
}

TEST_F(PrefixFetchTest, EarlierLayersAreThereBeforeLaterOnes) {
  auto messages = Messages(2);
  messages.resize(1);
  auto stream = std::make_unique<ScriptedStream>(std::move(messages));
  stream->HangAtTheEnd();
  auto fetch = Fetch(std::move(stream), 2);
  EXPECT_EQ(fetch->WaitLayer(0), 2);
  EXPECT_FALSE(fetch->complete());
}

TEST_F(PrefixFetchTest, AFlippedBitCutsThePrefix) {
  for (const size_t byte : {size_t{0}, size_t{40}, size_t{500}}) {
    std::deque<std::vector<uint8_t>> messages;
    for (int32_t layer = 0; layer < kGeometry.layers; ++layer) {
      for (int32_t chunk = 0; chunk < 3; ++chunk) messages.push_back(Frame(layer, chunk));
    }
    messages[4][byte] ^= 1;  // layer 1, chunk 1
    auto fetch = Fetch(std::move(messages), 3);
    EXPECT_EQ(fetch->WaitAll(), 1) << byte;
    EXPECT_NE(fetch->miss_reason(), "");
    EXPECT_EQ(fetch->miss_label(), byte == 0 ? "malformed" : "checksum") << fetch->miss_reason();
  }
}

TEST_F(PrefixFetchTest, AFrameOfAnotherModelOrFormatCutsThePrefix) {
  for (const auto& [format, model] : {std::pair{FormatId::kK8V4, "other"}, {FormatId::kK4V2, "model"}}) {
    auto messages = Messages(3);
    std::vector<uint8_t>& last = messages.back();
    last = Frame(2, 0);
    for (const auto& frame : {Frame(2, 1), Frame(2, 2, format, model)})
      last.insert(last.end(), frame.begin(), frame.end());
    auto fetch = Fetch(std::move(messages), 3);
    EXPECT_EQ(fetch->WaitAll(), 2);
    EXPECT_THAT(fetch->miss_reason(), HasSubstr("chunk 2"));
    EXPECT_EQ(fetch->miss_label(), format == FormatId::kK8V4 ? "fingerprint" : "format");
  }
}

TEST_F(PrefixFetchTest, AMissingChunkCutsThePrefix) {
  auto fetch = Fetch(Messages(2), 3);  // the pool lost the last chunk
  EXPECT_EQ(fetch->WaitAll(), 2);
  EXPECT_THAT(fetch->miss_reason(), HasSubstr("did not come"));
  EXPECT_EQ(fetch->miss_label(), "missing");
}

TEST_F(PrefixFetchTest, AChunkThatThePoolLostIsMissingForThePoolsReason) {
  auto stream = std::make_unique<ScriptedStream>(Messages(2));
  stream->Lose("the disk tier had it; damaged");
  auto fetch = Fetch(std::move(stream), 3);
  EXPECT_EQ(fetch->WaitAll(), 2);
  EXPECT_THAT(fetch->miss_reason(), HasSubstr("chunk 2: the disk tier had it; damaged"));
  EXPECT_EQ(fetch->miss_label(), "missing");
}

TEST_F(PrefixFetchTest, AStreamThatBreaksMeansRecompute) {
  auto messages = Messages(2);
  messages.pop_back();
  auto fetch = Fetch(std::make_unique<ScriptedStream>(std::move(messages), absl::UnavailableError("gone")), 2);
  EXPECT_EQ(fetch->WaitAll(), 0);
  EXPECT_TRUE(fetch->complete());
  EXPECT_EQ(fetch->miss_label(), "pool");
}

TEST_F(PrefixFetchTest, AStreamThatIsLateMeansRecompute) {
  auto stream = std::make_unique<ScriptedStream>(std::deque<std::vector<uint8_t>>());
  stream->HangAtTheEnd();
  PrefixFetch::Options options = Expecting(2);
  options.limit = absl::ZeroDuration();
  PrefixFetch fetch(std::unique_ptr<ChunkStream>(std::move(stream)), check_, std::move(options));
  EXPECT_EQ(fetch.WaitLayer(0), 0);
  EXPECT_THAT(fetch.miss_reason(), HasSubstr("not all frames came within"));
  EXPECT_EQ(fetch.miss_label(), "late");
}

TEST_F(PrefixFetchTest, APoolThatDoesNotAnswerMeansRecompute) {
  PrefixFetch fetch(absl::UnavailableError("no pool at 127.0.0.1:1"), check_, Expecting(2));
  EXPECT_EQ(fetch.WaitLayer(0), 0);
  EXPECT_THAT(fetch.miss_reason(), HasSubstr("no pool at"));
}

TEST_F(PrefixFetchTest, AFrameNobodyAskedForBehindTheLastOneMeansRecomputeAndLeavesTheReadersBytes) {
  auto messages = Messages(2);
  const auto stray = Frame(2, 7);
  messages.back().insert(messages.back().end(), stray.begin(), stray.end());
  auto fetch = Fetch(std::move(messages), 2);
  while (!fetch->complete()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(fetch->WaitAll(), 0);
  EXPECT_THAT(fetch->miss_reason(), HasSubstr("nobody asked for"));
  EXPECT_EQ(fetch->miss_label(), "unasked");
  // A reader that came before the stray frame holds views of the same message.
  const auto frames = fetch->Frames(2, 2);
  for (int32_t chunk = 0; chunk < 2; ++chunk) {
    const StoredFrame& frame = frames[static_cast<size_t>(chunk)];
    EXPECT_EQ(std::vector<uint8_t>(frame.begin(), frame.end()), Frame(2, chunk));
  }
}

TEST_F(PrefixFetchTest, AFrameThatComesTwiceChangesNothing) {
  auto messages = Messages(1);
  messages.insert(messages.begin() + 1, Frame(0, 0, FormatId::kK8V4, "other"));
  auto fetch = Fetch(std::move(messages), 1);
  EXPECT_EQ(fetch->WaitAll(), 1);
  const StoredFrame frame = fetch->Frames(0, 1)[0];
  EXPECT_EQ(std::vector<uint8_t>(frame.begin(), frame.end()), Frame(0, 0));
}

TEST_F(PrefixFetchTest, FramesNobodyAskedForMeanRecompute) {
  auto messages = Messages(2);
  messages.push_front(Frame(0, 7));
  auto fetch = Fetch(std::move(messages), 2);
  EXPECT_EQ(fetch->WaitAll(), 0);
}

}  // namespace
}  // namespace decant
