#include "services/lab/svg.h"

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace decant {
namespace {

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

}  // namespace

Svg::Svg(double width, double height) {
  body_ = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
      "font-family=\"sans-serif\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      width, height, width, height);
}

void Svg::Line(double x1, double y1, double x2, double y2, absl::string_view color, double width,
               absl::string_view dash) {
  body_ += absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%g\"",
                           x1, y1, x2, y2, color, width);
  if (!dash.empty()) body_ += absl::StrFormat(" stroke-dasharray=\"%s\"", dash);
  body_ += "/>\n";
}

void Svg::Path(const std::vector<std::pair<double, double>>& points, absl::string_view color, double width) {
  if (points.size() < 2) return;
  body_ += "<polyline fill=\"none\" points=\"";
  for (const auto& [x, y] : points) body_ += absl::StrFormat("%.1f,%.1f ", x, y);
  body_ += absl::StrFormat("\" stroke=\"%s\" stroke-width=\"%g\"/>\n", color, width);
}

void Svg::Mark(int form, double x, double y, absl::string_view color) {
  constexpr double kRadius = 4;
  switch (form) {
    case 0:
      body_ += absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%g\" fill=\"%s\"/>\n", x, y, kRadius, color);
      return;
    case 1:
      body_ += absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"%g\" height=\"%g\" fill=\"%s\"/>\n", x - kRadius,
                               y - kRadius, 2 * kRadius, 2 * kRadius, color);
      return;
    case 2:
      body_ +=
          absl::StrFormat("<polygon points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\" fill=\"%s\"/>\n", x, y - 1.2 * kRadius,
                          x - 1.1 * kRadius, y + kRadius, x + 1.1 * kRadius, y + kRadius, color);
      return;
    default:
      body_ +=
          absl::StrFormat("<polygon points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f %.1f,%.1f\" fill=\"%s\"/>\n", x,
                          y - 1.3 * kRadius, x - 1.3 * kRadius, y, x, y + 1.3 * kRadius, x + 1.3 * kRadius, y, color);
  }
}

void Svg::Text(double x, double y, absl::string_view text, double size, absl::string_view anchor, bool bold) {
  body_ +=
      absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%g\" text-anchor=\"%s\"%s fill=\"#222\">%s</text>\n", x,
                      y, size, anchor, bold ? " font-weight=\"bold\"" : "", Escaped(text));
}

void Svg::VerticalText(double x, double y, absl::string_view text, double size) {
  body_ += absl::StrFormat(
      "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%g\" text-anchor=\"middle\" transform=\"rotate(-90 %.1f %.1f)\" "
      "fill=\"#222\">%s</text>\n",
      x, y, size, x, y, Escaped(text));
}

std::string Svg::Finish() { return std::move(body_) + "</svg>\n"; }

}  // namespace decant
