#include "services/rpc/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/metrics/names.h"

namespace decant {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a scraper does, with nothing but a socket.
std::string Fetch(const std::string& address, const std::string& path) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  std::string answer;
  if (connect(connection, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) {
    const std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(write(connection, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char bytes[4096];
    for (ssize_t n; (n = read(connection, bytes, sizeof(bytes))) > 0;) answer.append(bytes, static_cast<size_t>(n));
  }
  close(connection);
  return answer;
}

TEST(MetricsTest, ShowsWhatWasCountedOverHttp) {
  Metrics metrics;
  metrics.AddCounter(metric::kPoolLookupTokens, "Tokens looked up", {{"result", "hit"}}).Increment(64);
  metrics.AddCounter(metric::kPoolLookupTokens, "Tokens looked up", {{"result", "hit"}}).Increment(6);
  metrics.AddCounter(metric::kPoolLookupTokens, "Tokens looked up", {{"result", "miss"}}).Increment();
  const Gauge gauge = metrics.AddGauge(metric::kPagesFree, "Free pages");
  gauge.Set(10);
  gauge.Add(-3);
  metrics.AddHistogram(metric::kTtftSeconds, "Time to the first token", Metrics::SecondsBounds()).Observe(0.3);
  auto endpoint = MetricsEndpoint::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_THAT((*endpoint)->address(), Not(HasSubstr(":0")));

  const std::string page = Fetch((*endpoint)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_THAT(page, HasSubstr("# HELP decant_pool_lookup_tokens_total Tokens looked up\n"));
  EXPECT_THAT(page, HasSubstr("# TYPE decant_pool_lookup_tokens_total counter\n"));
  EXPECT_THAT(page, HasSubstr("decant_pool_lookup_tokens_total{result=\"hit\"} 70\n"));
  EXPECT_THAT(page, HasSubstr("decant_pool_lookup_tokens_total{result=\"miss\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("decant_pages_free 7\n"));
  EXPECT_THAT(page, HasSubstr("decant_ttft_seconds_bucket{le=\"0.2\"} 0\n"));
  EXPECT_THAT(page, HasSubstr("decant_ttft_seconds_bucket{le=\"0.5\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("decant_ttft_seconds_count 1\n"));
  EXPECT_THAT(Fetch((*endpoint)->address(), "/else"), HasSubstr("HTTP/1.1 404"));
}

TEST(MetricsTest, StopsServingWhenTheEndpointGoes) {
  Metrics metrics;
  auto endpoint = MetricsEndpoint::Start("localhost:0", metrics);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const std::string address = (*endpoint)->address();
  EXPECT_THAT(Fetch(address, "/metrics"), HasSubstr("200 OK"));
  endpoint->reset();
  EXPECT_EQ(Fetch(address, "/metrics"), "");
}

TEST(MetricsTest, RefusesPublicAndTakenAddresses) {
  Metrics metrics;
  EXPECT_EQ(MetricsEndpoint::Start("0.0.0.0:0", metrics).status().code(), absl::StatusCode::kFailedPrecondition);
  auto endpoint = MetricsEndpoint::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(MetricsEndpoint::Start((*endpoint)->address(), metrics).status().code(), absl::StatusCode::kUnavailable);
}

TEST(MetricsTest, SharesOneChildAmongTooManyLabelValues) {
  Metrics metrics;
  for (size_t i = 0; i < Metrics::kMostChildren + 10; ++i) {
    metrics.AddCounter(metric::kProfileChosen, "Profiles", {{"profile", absl::StrCat("p", i)}}).Increment();
  }
  EXPECT_THAT(metrics.Render(), HasSubstr("decant_profile_chosen_total{profile=\"other\"} 10\n"));
  metrics.AddCounter(metric::kProfileChosen, "Profiles", {{"profile", "p0"}}).Increment();
  EXPECT_THAT(metrics.Render(), HasSubstr("decant_profile_chosen_total{profile=\"p0\"} 2\n"));
}

TEST(MetricsTest, DoesNothingWithoutARegistry) {
  Counter().Increment();
  Gauge().Set(1);
  Gauge().Add(1);
  Histogram().Observe(1);
}

}  // namespace
}  // namespace decant
