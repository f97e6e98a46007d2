#ifndef DECANT_TESTS_SERVICES_DECODE_FAKE_BATCH_H_
#define DECANT_TESTS_SERVICES_DECODE_FAKE_BATCH_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gpu/engine/decode_batch.h"

namespace decant {

// A DecodeBatch that counts pages and tokens and computes nothing: token n of a sequence is first_token + n. A batch
// whose first byte is 0xff is damaged.
class FakeBatch final : public DecodeBatch {
 public:
  // What tests read; outlives the batch.
  struct Record {
    int64_t pages = 0;  // of the device
    int64_t reserved = 0;
    std::vector<std::string> imported;
    int64_t steps = 0;
  };
  explicit FakeBatch(Record& record) : record_(record) {}

  int64_t WorstCasePages(const SequenceOptions& options) const override {
    return options.prompt_tokens + options.max_tokens;
  }
  int64_t total_pages() const override { return record_.pages; }
  int64_t page_bytes() const override { return 1000; }
  int64_t unreserved_pages() const override { return record_.pages - record_.reserved; }
  absl::StatusOr<SequenceId> Reserve(const SequenceOptions& options) override {
    const int64_t pages = WorstCasePages(options);
    if (pages > record_.pages) return absl::InvalidArgumentError("never");
    if (pages > unreserved_pages()) return absl::ResourceExhaustedError("not now");
    record_.reserved += pages;
    sequences_[++issued_] = Sequence{options, pages, 0, 0, false};
    return issued_;
  }
  absl::Status Import(SequenceId /*sequence*/, absl::Span<const uint8_t> batch) override {
    if (!batch.empty() && batch[0] == 0xff) return absl::DataLossError("damaged frame");
    record_.imported.emplace_back(batch.begin(), batch.end());
    return absl::OkStatus();
  }
  absl::Status Join(SequenceId sequence, int32_t first_token) override {
    sequences_.at(sequence).joined = true;
    sequences_.at(sequence).next_token = first_token + 1;
    sequences_.at(sequence).generated = 1;
    return absl::OkStatus();
  }
  absl::StatusOr<absl::Span<const StepToken>> Step() override {
    ++record_.steps;
    step_.clear();
    for (auto& [id, sequence] : sequences_) {
      if (!sequence.joined || sequence.generated >= sequence.options.max_tokens) continue;
      const bool finished = ++sequence.generated == sequence.options.max_tokens;
      step_.push_back(StepToken{id, sequence.next_token++, finished, false});
    }
    return absl::MakeConstSpan(step_);
  }
  int32_t running() const override {
    int32_t count = 0;
    for (const auto& [id, sequence] : sequences_) {
      if (sequence.joined && sequence.generated < sequence.options.max_tokens) ++count;
    }
    return count;
  }
  absl::StatusOr<SequenceUse> Use(SequenceId sequence) override {
    SequenceUse use;
    use.pages = sequences_.at(sequence).pages;
    use.resident_bytes = use.pages * page_bytes();
    use.tokens.high = 7;
    return use;
  }
  void Remove(SequenceId sequence) override {
    record_.reserved -= sequences_.at(sequence).pages;
    sequences_.erase(sequence);
  }
  absl::Status CopyLogits(absl::Span<float> /*out*/) override { return absl::UnimplementedError("no logits"); }
  absl::StatusOr<RowsCopy> CopyRows(SequenceId /*sequence*/) override { return absl::UnimplementedError("no rows"); }
  MemoryRef pages() override { return MemoryRef(); }

 private:
  struct Sequence {
    SequenceOptions options;
    int64_t pages = 0;
    int32_t next_token = 0;
    int32_t generated = 0;
    bool joined = false;
  };
  Record& record_;
  std::map<SequenceId, Sequence> sequences_;
  SequenceId issued_ = 0;
  std::vector<StepToken> step_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_DECODE_FAKE_BATCH_H_
