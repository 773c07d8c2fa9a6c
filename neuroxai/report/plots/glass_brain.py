"""Mean heatmaps as glass brains (nilearn), for slides: PNG and SVG."""

from __future__ import annotations

from neuroxai import io
from neuroxai.canvas import colour_map, figure_of
from neuroxai.pictures.maps import Drawing
from neuroxai.report.plots.charts import both
from neuroxai.space import Volume, mni152


def glass_brain(heatmap: Volume, limit: float, title: str) -> Drawing:
    """Project a map in MNI152 space on three planes; the value of largest magnitude along a line of sight is seen.

    Parameters
    ----------
    heatmap : Volume
        In MNI152 space.
    limit : float
        Colours run from -limit to limit; what is below a fifth of it is left out.
    title : str
        In the picture.
    """
    from nilearn.plotting import plot_glass_brain

    with figure_of(10.5, 3.2) as (figure, output):
        figure.set_layout_engine("none")  # nilearn places what it draws
        plot_glass_brain(
            io.image_of(heatmap.resampled_to(mni152(2.0), antialias=False)),
            figure=figure,
            title=title,
            threshold=0.2 * limit,
            vmin=-limit,
            vmax=limit,
            cmap=colour_map(),
            colorbar=True,
            plot_abs=False,
            display_mode="lyrz",
            annotate=True,
        )
        return both(output)
