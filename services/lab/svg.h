#ifndef DECANT_SERVICES_LAB_SVG_H_
#define DECANT_SERVICES_LAB_SVG_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace decant {

// Shapes of one SVG document, in pixels from its top left corner.
class Svg {
 public:
  Svg(double width, double height);

  // `dash` as in stroke-dasharray, empty for none.
  void Line(double x1, double y1, double x2, double y2, absl::string_view color, double width,
            absl::string_view dash = "");
  void Path(const std::vector<std::pair<double, double>>& points, absl::string_view color, double width);
  // Marks differ in form as well as in colour: circle, square, triangle, diamond.
  void Mark(int form, double x, double y, absl::string_view color);
  // `anchor`: start, middle or end.
  void Text(double x, double y, absl::string_view text, double size, absl::string_view anchor, bool bold = false);
  // Reads upwards, centred on the point.
  void VerticalText(double x, double y, absl::string_view text, double size);

  std::string Finish();

 private:
  std::string body_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_SVG_H_
