// Sequences of all points and texts step together in one batch (a wave); a wave runs when the pages or places are full
// and at the end. A text's full-precision sequence is never in a later wave than the others, and in the first of the
// batches, so that its log-probabilities are there to compare with.
#include "services/lab/lab_engine.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/page.h"
#include "common/model/log_probabilities.h"
#include "gpu/engine/decode_batch.h"
#include "services/lab/shared_prefill.h"

namespace decant {
namespace {

constexpr int64_t kPageBytes = int64_t{768} << 20;
constexpr int32_t kMostSequences = 192;
// Frames of one prompt that are kept at once; a prompt of more points is prefilled again for the rest.
constexpr int64_t kFrameBytes = int64_t{1} << 30;

// One running copy of a prompt.
struct Lane {
  DecodeBatch* batch = nullptr;
  SequenceId sequence = 0;
  size_t place = 0;  // of its point among the chosen ones
  size_t text = 0;   // counted over all jobs
  const LabJob* job = nullptr;
  const FedText* fed = nullptr;
  size_t step = 0;
  int64_t moved_before = 0;
};

class LabEngineOnBatch final : public LabEngine {
 public:
  LabEngineOnBatch(const LoadedModel& model, std::vector<LabPoint> points)
      : model_(model), points_(std::move(points)), stream_(model.device->NewStream()) {}

  // Pages as a worker has them that serves the common formats, and larger ones for points with formats that do not fit
  // those: what a token of one point takes does not depend on the others.
  absl::Status TakePages() {
    DecodeOptions options;
    options.kv_budget_bytes = kPageBytes;
    options.max_sequences = kMostSequences;
    options.model = model_.folder.fingerprint;
    DECANT_ASSIGN_OR_RETURN(batches_[0], DecodeBatch::Create(*model_.weights, *stream_, options));
    for (const LabPoint& point : points_) {
      batch_of_.push_back(Fits(point, batches_[0]->page_bytes()) ? 0 : 1);
      if (batch_of_.back() == 0) continue;
      const std::vector<FormatId> formats = FormatsOf({point});
      options.formats.insert(options.formats.end(), formats.begin(), formats.end());
    }
    if (options.formats.empty()) return absl::OkStatus();
    DECANT_ASSIGN_OR_RETURN(batches_[1], DecodeBatch::Create(*model_.weights, *stream_, options));
    return absl::OkStatus();
  }

  const std::vector<LabPoint>& points() const override { return points_; }

  using LabEngine::Measure;
  absl::StatusOr<std::vector<PointResult>> Measure(const std::vector<LabJob>& jobs,
                                                   const std::vector<size_t>& chosen) override {
    std::vector<size_t> wanted = chosen;
    for (size_t point = 0; chosen.empty() && point < points_.size(); ++point) wanted.push_back(point);
    if (wanted[0] != 0 || wanted.back() >= points_.size()) {
      return absl::InvalidArgumentError(absl::StrCat("points ", wanted[0], " to ", wanted.back(), " of ",
                                                     points_.size(), "; the first must be 0, full precision"));
    }
    // A profile's own setting may be one of the budgets: the same recipe is measured once.
    std::map<Digest, size_t> place_of;
    chosen_.clear();
    for (const size_t point : wanted) {
      if (place_of.emplace(points_[point].recipe.digest, chosen_.size()).second) chosen_.push_back(point);
    }
    DECANT_ASSIGN_OR_RETURN(const std::vector<PointResult> measured, MeasureChosen(jobs));
    std::vector<PointResult> results;
    for (const size_t point : wanted) results.push_back(measured[place_of.at(points_[point].recipe.digest)]);
    return results;
  }

 private:
  absl::StatusOr<std::vector<PointResult>> MeasureChosen(const std::vector<LabJob>& jobs) {
    results_.assign(chosen_.size(), PointResult());
    full_.clear();
    const auto leave = absl::MakeCleanup([this] { RemoveLanes(); });
    size_t text = 0;
    for (const LabJob& job : jobs) {
      for (PointResult& result : results_) result.scores.resize(text + job.texts.size());
      DECANT_RETURN_IF_ERROR(StartJob(job, text));
      text += job.texts.size();
    }
    DECANT_RETURN_IF_ERROR(RunWave());
    return std::move(results_);
  }

  bool Fits(const LabPoint& point, int64_t page_bytes) const {
    const std::vector<FormatId> formats = FormatsOf({point});
    return std::all_of(formats.begin(), formats.end(), [&](FormatId format) {
      return FitLayout(format, model_.weights->config().head_dim, page_bytes).tokens > 0;
    });
  }

  absl::Status StartJob(const LabJob& job, size_t first_text) {
    const int64_t most = static_cast<int64_t>(job.prompt.size()) *
                         model_.weights->config().geometry().full_bytes_per_token() *
                         (model_.weights->run_type() == RunType::kF32 ? 2 : 1);
    const auto at_once = static_cast<size_t>(std::max<int64_t>(1, kFrameBytes / std::max<int64_t>(1, most)));
    for (size_t first = 0; first < chosen_.size(); first += at_once) {
      const size_t last = std::min(chosen_.size(), first + at_once);
      std::vector<Recipe> recipes;
      for (size_t place = first; place < last; ++place) recipes.push_back(points_[chosen_[place]].recipe);
      DECANT_ASSIGN_OR_RETURN(std::vector<PromptFrames> frames, PrefillShared(model_, *stream_, job.prompt, recipes));
      for (size_t place = first; place < last; ++place) {
        DECANT_RETURN_IF_ERROR(StartPoint(job, first_text, place, frames[place - first]));
        frames[place - first] = PromptFrames();
      }
    }
    return absl::OkStatus();
  }

  absl::Status StartPoint(const LabJob& job, size_t first_text, size_t place, const PromptFrames& frames) {
    PointResult& result = results_[place];
    result.frame_bytes += frames.frame_bytes;
    result.encode_seconds += frames.encode_seconds;
    result.high_tokens += frames.counts.high;
    result.low_tokens += frames.counts.low;
    result.pruned_tokens += frames.counts.pruned;
    for (size_t i = 0; i < job.texts.size(); ++i) {
      Lane lane;
      lane.place = place;
      lane.batch = batches_[batch_of_[chosen_[place]]].get();
      lane.text = first_text + i;
      lane.job = &job;
      lane.fed = &job.texts[i];
      DECANT_ASSIGN_OR_RETURN(lane.sequence, Reserve(*lane.batch, job, *lane.fed, points_[chosen_[place]].recipe));
      lanes_.push_back(lane);
      for (const std::vector<uint8_t>& layer : frames.layers) {
        DECANT_RETURN_IF_ERROR(lane.batch->Import(lane.sequence, layer));
      }
      DECANT_RETURN_IF_ERROR(lane.batch->Join(lane.sequence, lane.fed->feed[0]));
      DECANT_ASSIGN_OR_RETURN(const SequenceUse use, lane.batch->Use(lane.sequence));
      lanes_.back().moved_before = use.tokens.demoted + use.tokens.dropped;
      if (i > 0) continue;
      const auto prompt_tokens = static_cast<int64_t>(job.prompt.size());
      result.prompt_tokens += prompt_tokens;
      if (!job.bytes_at_end) AddResident(use, prompt_tokens, result);
    }
    return absl::OkStatus();
  }

  static void AddResident(const SequenceUse& use, int64_t tokens, PointResult& result) {
    result.resident_bytes += use.resident_bytes;
    result.resident_tokens += tokens;
  }

  // When the pages are full, what waits in them runs first.
  absl::StatusOr<SequenceId> Reserve(DecodeBatch& batch, const LabJob& job, const FedText& fed, const Recipe& recipe) {
    SequenceOptions options;
    options.prompt_tokens = static_cast<int32_t>(job.prompt.size());
    options.max_tokens = static_cast<int32_t>(fed.feed.size()) + 1;
    options.recipe = recipe;
    options.forced.assign(fed.feed.begin() + 1, fed.feed.end());
    absl::StatusOr<SequenceId> id = batch.Reserve(options);
    if (absl::IsResourceExhausted(id.status()) && !lanes_.empty()) {
      DECANT_RETURN_IF_ERROR(RunWave());
      id = batch.Reserve(options);
    }
    return id;
  }

  absl::Status RunWave() {
    for (const auto& batch : batches_) {
      if (batch != nullptr) DECANT_RETURN_IF_ERROR(RunBatch(*batch));
    }
    for (const Lane& lane : lanes_) {
      DECANT_ASSIGN_OR_RETURN(const SequenceUse use, lane.batch->Use(lane.sequence));
      PointResult& result = results_[lane.place];
      result.online_events += use.tokens.demoted + use.tokens.dropped - lane.moved_before;
      result.steps += static_cast<int64_t>(lane.step);
      result.bytes_read += use.bytes_read;
      const size_t tokens = lane.job->prompt.size() + lane.fed->feed.size();
      if (lane.job->bytes_at_end) AddResident(use, static_cast<int64_t>(tokens), result);
    }
    RemoveLanes();
    return absl::OkStatus();
  }

  absl::Status RunBatch(DecodeBatch& batch) {
    std::map<SequenceId, Lane*> by_sequence;
    for (Lane& lane : lanes_) {
      if (lane.batch == &batch) by_sequence[lane.sequence] = &lane;
    }
    while (batch.running() > 0) {
      DECANT_ASSIGN_OR_RETURN(const auto tokens, batch.Step());
      std::vector<Lane*> rows;
      bool answers = false;
      for (const StepToken& token : tokens) {
        rows.push_back(by_sequence.at(token.sequence));
        answers = answers || AnswerStep(*rows.back()) >= 0;
      }
      if (answers) DECANT_RETURN_IF_ERROR(ScoreStep(batch, rows));
      for (Lane* lane : rows) ++lane->step;
    }
    return absl::OkStatus();
  }

  // Which token of the answer the lane's last step was asked for; negative while the question is fed.
  static int64_t AnswerStep(const Lane& lane) {
    return static_cast<int64_t>(lane.step) - static_cast<int64_t>(lane.fed->feed.size() - lane.fed->answer.size());
  }

  absl::Status ScoreStep(DecodeBatch& batch, const std::vector<Lane*>& rows) {
    const auto vocabulary = static_cast<size_t>(model_.weights->config().vocabulary);
    logits_.resize(rows.size() * vocabulary);
    DECANT_RETURN_IF_ERROR(batch.CopyLogits(absl::MakeSpan(logits_)));
    // Full precision first: the others are compared with it.
    for (const bool full : {true, false}) {
      for (size_t row = 0; row < rows.size(); ++row) {
        const Lane& lane = *rows[row];
        const int64_t step = AnswerStep(lane);
        if (step < 0 || (lane.place == 0) != full) continue;
        const absl::Span<float> mine = absl::MakeSpan(logits_).subspan(row * vocabulary, vocabulary);
        LogSoftmax(mine);
        std::vector<float>& reference = full_[lane.text];
        if (full) reference.insert(reference.end(), mine.begin(), mine.end());
        const auto at = static_cast<size_t>(step);
        const absl::Span<const float> theirs =
            full ? mine : absl::MakeConstSpan(reference).subspan(at * vocabulary, vocabulary);
        const size_t span = lane.job->span_tokens > 0 ? at / static_cast<size_t>(lane.job->span_tokens) : 0;
        std::vector<AnswerScore>& scores = results_[lane.place].scores[lane.text];
        scores.resize(std::max(scores.size(), span + 1));
        AddToken(lane.fed->answer[at], mine, theirs, scores[span]);
      }
    }
    return absl::OkStatus();
  }

  void RemoveLanes() {
    for (const Lane& lane : lanes_) lane.batch->Remove(lane.sequence);
    lanes_.clear();
  }

  const LoadedModel& model_;
  const std::vector<LabPoint> points_;
  const std::unique_ptr<Stream> stream_;
  std::unique_ptr<DecodeBatch> batches_[2];  // the second may be null
  std::vector<size_t> batch_of_;             // by point
  std::vector<size_t> chosen_;               // points
  std::vector<Lane> lanes_;
  std::vector<PointResult> results_;
  std::map<size_t, std::vector<float>> full_;  // by text: log-probabilities [answer tokens so far, vocabulary]
  std::vector<float> logits_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LabEngine>> LabEngine::Create(const LoadedModel& model, std::vector<LabPoint> points) {
  if (points.empty() || !points[0].recipe.exact()) {
    return absl::InvalidArgumentError("the first point must be full precision: the others are compared with it");
  }
  auto engine = std::make_unique<LabEngineOnBatch>(model, std::move(points));
  DECANT_RETURN_IF_ERROR(engine->TakePages());
  return engine;
}

}  // namespace decant
