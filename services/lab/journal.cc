#include "services/lab/journal.h"

#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

using nlohmann::json;

json ToJson(const PointResult& result) {
  json texts = json::array();
  for (const std::vector<AnswerScore>& spans : result.scores) {
    json list = json::array();
    for (const AnswerScore& s : spans) list.push_back({s.tokens, s.right, s.surprise, s.divergence});
    texts.push_back(std::move(list));
  }
  return {{"tokens", result.prompt_tokens}, {"resident", result.resident_bytes}, {"held", result.resident_tokens},
          {"frames", result.frame_bytes},   {"high", result.high_tokens},        {"low", result.low_tokens},
          {"pruned", result.pruned_tokens}, {"encode_s", result.encode_seconds}, {"steps", result.steps},
          {"read", result.bytes_read},      {"events", result.online_events},    {"scores", std::move(texts)}};
}

// Throws json::exception for what ToJson would not have written.
PointResult FromJson(const json& object) {
  PointResult result;
  object.at("tokens").get_to(result.prompt_tokens);
  object.at("resident").get_to(result.resident_bytes);
  object.at("held").get_to(result.resident_tokens);
  object.at("frames").get_to(result.frame_bytes);
  object.at("high").get_to(result.high_tokens);
  object.at("low").get_to(result.low_tokens);
  object.at("pruned").get_to(result.pruned_tokens);
  object.at("encode_s").get_to(result.encode_seconds);
  object.at("steps").get_to(result.steps);
  object.at("read").get_to(result.bytes_read);
  object.at("events").get_to(result.online_events);
  for (const json& spans : object.at("scores")) {
    std::vector<AnswerScore>& scores = result.scores.emplace_back();
    for (const json& s : spans) {
      scores.push_back({s.at(0).get<int32_t>(), s.at(1).get<int32_t>(), s.at(2).get<double>(), s.at(3).get<double>()});
    }
  }
  return result;
}

absl::Status CheckParameters(const std::string& path, const LabParameters& found, const LabParameters& wanted) {
  for (const LabParameters* side : {&found, &wanted}) {
    for (const auto& [name, value] : *side) {
      const auto there = found.find(name), here = wanted.find(name);
      const std::string before = there == found.end() ? "nothing" : there->second;
      const std::string now = here == wanted.end() ? "nothing" : here->second;
      if (before == now) continue;
      return absl::FailedPreconditionError(absl::StrCat(path, " is of a run with ", name, " ", before,
                                                        ", this one has ", now,
                                                        "; give another --out or remove the journal"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Journal> Journal::Open(const std::string& path, const LabParameters& parameters) {
  Journal journal;
  journal.path_ = path;
  std::string text;
  if (std::ifstream before(path, std::ios::binary); before) text.assign(std::istreambuf_iterator<char>(before), {});
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  int number = 0;
  for (size_t begin = 0; begin < whole;) {
    const size_t end = text.find('\n', begin);
    ++number;
    try {
      const json line = json::parse(text.substr(begin, end - begin));
      if (number == 1) {
        DECANT_RETURN_IF_ERROR(CheckParameters(path, line.at("parameters").get<LabParameters>(), parameters));
      } else {
        Points& results = journal.units_[line.at("unit").get<std::string>()];
        for (const auto& [point, result] : line.at("points").items()) results[point] = FromJson(result);
      }
    } catch (const json::exception& error) {
      return absl::DataLossError(absl::StrCat(path, ", line ", number, " is no line of a lab journal (", error.what(),
                                              "); give another --out or remove the journal"));
    }
    begin = end + 1;
  }
  if (whole < text.size()) std::filesystem::resize_file(path, whole);
  journal.file_.open(path, std::ios::binary | std::ios::app);
  if (number == 0) journal.file_ << json({{"parameters", parameters}}).dump() << "\n";
  if (!journal.file_.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return journal;
}

const PointResult* Journal::Find(absl::string_view unit, absl::string_view point) const {
  const auto found = units_.find(unit);
  if (found == units_.end()) return nullptr;
  const auto result = found->second.find(point);
  return result == found->second.end() ? nullptr : &result->second;
}

absl::Status Journal::Append(const std::string& unit, const std::vector<std::string>& points,
                             std::vector<PointResult> results) {
  json list = json::object();
  for (size_t i = 0; i < points.size(); ++i) list[points[i]] = ToJson(results[i]);
  file_ << json({{"unit", unit}, {"points", std::move(list)}}).dump() << "\n";
  if (!file_.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path_));
  for (size_t i = 0; i < points.size(); ++i) units_[unit][points[i]] = std::move(results[i]);
  return absl::OkStatus();
}

}  // namespace decant
