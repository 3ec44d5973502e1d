"""The shelves of the shop, by an object mapper: where asking once more for each thing on a list comes from."""

from sqlalchemy import Engine, ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class _Base(DeclarativeBase):
    pass


class Price(_Base):
    __tablename__ = "prices"

    product: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    cents: Mapped[int]


class Stock(_Base):
    __tablename__ = "stock"

    product: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    number: Mapped[int]


class Rating(_Base):
    __tablename__ = "ratings"

    product: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    stars: Mapped[float]


class Maker(_Base):
    __tablename__ = "makers"

    product: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    name: Mapped[str]


class Picture(_Base):
    __tablename__ = "pictures"

    product: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    file: Mapped[str]


class Product(_Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[int]
    name: Mapped[str]
    price: Mapped[Price] = relationship()
    stock: Mapped[Stock] = relationship()
    rating: Mapped[Rating] = relationship()
    maker: Mapped[Maker] = relationship()
    picture: Mapped[Picture] = relationship()


def opened(database: str, at_once: int) -> Engine:
    """Open the database, for so many threads."""
    return create_engine(f"sqlite:///{database}", pool_size=at_once)


Shown = tuple[str, int, int, float, str, str]
"""Name, price, number in stock, rating, maker and picture."""


def shelf(engine: Engine, category: int, *, at_once: bool) -> list[Shown]:
    """Give the products of a category.

    `at_once` asks for what the list shows, in one query. Without, the price of each product is looked up when it is
    asked for, then how many there are, and so on: five more queries each, as it is if nobody thinks of it.
    """
    with Session(engine) as session:
        if at_once:
            shown = select(Product.name, Price.cents, Stock.number, Rating.stars, Maker.name, Picture.file)
            for part in (Product.price, Product.stock, Product.rating, Product.maker, Product.picture):
                shown = shown.join(part)
            return [row.tuple() for row in session.execute(shown.where(Product.category == category)).all()]
        return [
            (one.name, one.price.cents, one.stock.number, one.rating.stars, one.maker.name, one.picture.file)
            for one in session.scalars(select(Product).where(Product.category == category)).all()
        ]
