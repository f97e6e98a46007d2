#include "services/rpc/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cctype>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace decant {
namespace {

constexpr size_t kLongestMessage = 1024;

struct Named {
  const char* name;
  spdlog::level::level_enum level;
};
constexpr Named kNames[] = {{"debug", spdlog::level::debug},
                            {"info", spdlog::level::info},
                            {"warning", spdlog::level::warn},
                            {"error", spdlog::level::err},
                            {"off", spdlog::level::off}};

// Never destroyed: threads may log until the process is gone.
std::atomic<spdlog::logger*> logger{nullptr};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

}  // namespace

std::vector<std::string> LogLevelNames() {
  std::vector<std::string> names;
  for (const Named& named : kNames) names.emplace_back(named.name);
  return names;
}

absl::Status StartLog(absl::string_view process, absl::string_view level) {
  for (const Named& named : kNames) {
    if (level != named.name) continue;
    // NOLINTNEXTLINE: owned by the process, see `logger`
    auto* const made = new spdlog::logger(std::string(process), std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
    made->set_level(named.level);
    logger = made;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", level, "\" is no log level; take debug, info, warning, error or off"));
}

void Log(LogLevel level, absl::string_view message) {
  spdlog::logger* const to = logger.load();
  if (to == nullptr || !to->should_log(ToSpdlog(level))) return;
  std::string line(message.substr(0, kLongestMessage));
  for (char& c : line) {
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = ' ';
  }
  to->log(ToSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

void BoundedLog::Log(absl::Time now, LogLevel level, absl::string_view message) {
  int64_t left_out = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (now - began_ >= period_) {
      began_ = now;
      written_ = 0;
    }
    if (written_ >= lines_) {
      ++left_out_;
      return;
    }
    ++written_;
    left_out = std::exchange(left_out_, 0);
  }
  if (left_out > 0) decant::Log(level, absl::StrCat(left_out, " lines like the next one were left out"));
  decant::Log(level, message);
}

}  // namespace decant
